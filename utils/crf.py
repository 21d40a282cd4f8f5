"""Dense CRF: sharpens label probabilities along the edges of the photograph."""

import numpy as np
import torch
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import unary_from_softmax
from torch import Tensor

# IRN (Ahn et al., CVPR 2019), step "cam_to_ir_label": the usual CRF on labels that were made from CAMs
CAM_CRF = {"iterations": 10, "pos_w": 3, "pos_xy_std": 3, "bi_w": 10, "bi_xy_std": 50, "bi_rgb_std": 5}
CAM_CONFIDENCE = 0.7
# a label takes part in the CRF if it is somewhere at least this many times as probable as the strongest one there
COMPETING_RATIO = 0.02


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
    Raises ValueError where shapes or types differ. Krähenbühl & Koltun, NIPS 2011.
    """
    if image.dtype != np.uint8 or image.shape != (*probabilities.shape[1:], 3):
        raise ValueError(
            f"image {image.shape} {image.dtype}, probabilities {probabilities.shape}: "
            "need (H, W, 3) uint8 and (L, H, W) of one size"
        )
    labels, height, width = probabilities.shape
    # the CRF takes only memory that is contiguous and writable, which pictures of PIL are not
    unary = unary_from_softmax(np.array(probabilities, dtype=np.float32, order="C"))
    crf = DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=pos_xy_std, compat=pos_w)
    crf.addPairwiseBilateral(sxy=bi_xy_std, srgb=bi_rgb_std, rgbim=np.array(image, order="C"), compat=bi_w)
    return np.array(crf.inference(iterations), dtype=np.float32).reshape(labels, height, width)


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


def competing_labels(probabilities: Tensor, *, ratio: float = COMPETING_RATIO) -> Tensor:
    """The labels that come near to winning a pixel: (K,) long, rising. probabilities (L, H, W).

    The CRF makes labels win that neighbours have, where they are nearly as probable as the strongest one already; a
    label that is far behind everywhere has no such neighbours, and leaving it out changes next to nothing.
    """
    share = (probabilities / probabilities.amax(dim=0)).amax(dim=(1, 2))
    return torch.nonzero(share >= ratio).flatten()


def crf_label(image: np.ndarray, probabilities: np.ndarray, **strengths: float) -> np.ndarray:
    """Each pixel's label after the dense CRF over the labels that compete, (H, W) uint8.

    image (H, W, 3) uint8 RGB, probabilities (L, H, W), strengths as in dense_crf.
    """
    labels = competing_labels(torch.from_numpy(probabilities)).numpy()
    if len(labels) == 1:
        return np.full(image.shape[:2], labels[0], np.uint8)
    chosen = probabilities[labels]
    refined = dense_crf(image, chosen / chosen.sum(axis=0), **strengths)
    return labels[refined.argmax(axis=0)].astype(np.uint8)
