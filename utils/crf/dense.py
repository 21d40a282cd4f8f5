"""Dense CRF: sharpens label probabilities along the edges of the photograph."""

from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from utils.crf.lattice import PermutohedralLattice
from utils.crf.strengths import CAM_CONFIDENCE, CAM_CRF, Strengths
from utils.errors import UserError

# as published: a label that the network rules out can still win
SMALLEST_PROBABILITY = 1e-5
# a label takes part in the CRF if it is at least this many times as probable as the strongest one, on at least this
# share of the pixels: measured on two networks' logits of 40 photographs each, 99.98 % of the pixels stay on average,
# 99.90 % of each image's or more
COMPETING_RATIO, COMPETING_AREA = 0.4, 0.001


def dense_crf(
    image: np.ndarray,
    probabilities: np.ndarray,
    *,
    iterations: int,
    pos_w: float,
    pos_xy_std: float,
    bi_w: float,
    bi_xy_std: float,
    bi_rgb_std: float,
) -> np.ndarray:
    """Probabilities (L, H, W) float32 after `iterations` of mean field.

    image (H, W, 3) uint8 RGB; probabilities (L, H, W), their sum over L is 1. pos_w weighs neighbours within
    pos_xy_std pixels, bi_w those within bi_xy_std pixels whose colour lies within bi_rgb_std.
    Raises ValueError where shapes or types differ, UserError for a width of 0 or less. Krähenbühl & Koltun, NIPS 2011.
    """
    if image.dtype != np.uint8 or image.shape != (*probabilities.shape[1:], 3):
        raise ValueError(
            f"image {image.shape} {image.dtype}, probabilities {probabilities.shape}: "
            "need (H, W, 3) uint8 and (L, H, W) of one size"
        )
    position, appearance = _kernels(image, pos_xy_std=pos_xy_std, bi_xy_std=bi_xy_std, bi_rgb_std=bi_rgb_std)

    def support(belief: Tensor) -> Tensor:
        """What the other pixels add to each pixel's log-probability of a label that they believe in so much."""
        near, alike = (torch.from_numpy(kernel.filter(belief.numpy())) for kernel in (position, appearance))
        return pos_w * near + bi_w * alike

    flat = torch.from_numpy(np.array(probabilities, dtype=np.float32)).flatten(1)
    own = flat.clamp_(SMALLEST_PROBABILITY, 1).log_()
    belief = own.softmax(dim=0)
    # the beliefs of a pixel sum to 1 and filters are linear: the last label has what the others leave of it
    whole = support(torch.ones_like(belief[:1]))
    for _ in range(iterations):
        others = support(belief[:-1])
        belief = (own + torch.cat([others, whole - others.sum(dim=0)])).softmax(dim=0)
    return belief.numpy().reshape(probabilities.shape)


def _kernels(image: np.ndarray, **widths: float) -> tuple[PermutohedralLattice, PermutohedralLattice]:
    """Gaussians over the pixels of image (H, W, 3): of positions, and of positions and colours. Widths as dense_crf."""
    for name, width in widths.items():
        if not width > 0:
            raise UserError(f"{name}={width}", rule="the width of a kernel is above 0")
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    places = np.stack([columns, rows], axis=2).reshape(-1, 2).astype(np.float32)
    colours = image.reshape(-1, 3) / np.float32(widths["bi_rgb_std"])
    position = PermutohedralLattice(places / np.float32(widths["pos_xy_std"]))
    return position, PermutohedralLattice(np.hstack([places / np.float32(widths["bi_xy_std"]), colours]))


def refine_label(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """A CAM's label after the dense CRF, in which each pixel starts with its own label at probability 0.7.

    image (H, W, 3) uint8 RGB, label (H, W) uint8 -> (H, W) uint8; no label appears that was not there.
    Strengths as in IRN (Ahn et al., CVPR 2019).
    """
    present, index = np.unique(label, return_inverse=True)
    if len(present) == 1:
        return label.copy()
    rest = (1 - CAM_CONFIDENCE) / (len(present) - 1)
    own = np.arange(len(present)).reshape(-1, 1, 1) == index.reshape(label.shape)
    refined = dense_crf(image, np.where(own, np.float32(CAM_CONFIDENCE), np.float32(rest)), **CAM_CRF)
    return present[refined.argmax(axis=0)]


def competing_labels(probabilities: Tensor, *, ratio: float, area: float = 0.0) -> Tensor:
    """Labels that win or come near to it: (K,) long, rising. probabilities (L, H, W).

    Those at least `ratio` times as probable as the strongest one, on one pixel and at least a share `area` of them.
    """
    near = probabilities >= ratio * probabilities.amax(dim=0)
    pixels = near.sum(dim=(1, 2))
    return torch.nonzero((pixels > 0) & (pixels >= area * near[0].numel())).flatten()


def crf_label(image: np.ndarray, probabilities: np.ndarray, **strengths: Unpack[Strengths]) -> np.ndarray:
    """Each pixel's label after the dense CRF over the labels that compete, (H, W) uint8.

    image (H, W, 3) uint8 RGB, probabilities (L, H, W), strengths as in dense_crf. The time goes with the number of
    labels, on top of what the image costs. The CRF lets those labels win that neighbours have and that are nearly the
    strongest already; one that is far behind nearly everywhere has no such neighbours.
    """
    labels, refined = refine(image, probabilities, **strengths)
    return labels[refined.argmax(axis=0)]


def refine(
    image: np.ndarray, probabilities: np.ndarray, **strengths: Unpack[Strengths]
) -> tuple[np.ndarray, np.ndarray]:
    """The labels (K,) uint8 that compete in an image, and their probabilities (K, H, W) after the dense CRF."""
    chosen = competing_labels(torch.from_numpy(probabilities), ratio=COMPETING_RATIO, area=COMPETING_AREA)
    labels = chosen.numpy().astype(np.uint8)
    kept = probabilities[labels]
    if len(labels) == 1:
        return labels, np.ones_like(kept)
    return labels, dense_crf(image, kept / kept.sum(axis=0), **strengths)
