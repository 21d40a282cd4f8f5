"""The dense CRF over the labels that compete in an image: the others cost time and win nowhere."""

from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from utils.config.valid import CrfBackend
from utils.crf.dense import dense_crf
from utils.crf.strengths import Strengths

# a label takes part in the CRF if it wins on any pixel, or is at least this many times as probable as the strongest one
# on at least this fraction of the pixels
COMPETING_RATIO, COMPETING_AREA = 0.4, 0.001


def competing_labels(probabilities: Tensor, *, ratio: float, area: float = 0.0) -> Tensor:
    """Labels that win or come near to it: (K,) long, rising. probabilities (L, H, W).

    Those that are the strongest on a pixel, however small their object is, and those at least `ratio` times as
    probable as the strongest one on one pixel and at least a fraction `area` of them.
    """
    strongest = probabilities.amax(dim=0)
    wins = (probabilities == strongest).any(dim=2).any(dim=1)
    pixels = (probabilities >= ratio * strongest).sum(dim=(1, 2))
    return torch.nonzero(wins | ((pixels > 0) & (pixels >= area * strongest.numel()))).flatten()


def crf_label(image: np.ndarray, probabilities: np.ndarray, **strengths: Unpack[Strengths]) -> np.ndarray:
    """Each pixel's label after the dense CRF over the labels that compete, (H, W) uint8.

    image (H, W, 3) uint8 RGB, probabilities (L, H, W), strengths as in dense_crf. The time goes with the number of
    labels, on top of what the image costs. The CRF lets those labels win that neighbours have and that are nearly the
    strongest already; one that is far behind nearly everywhere has no such neighbours.
    """
    labels, refined = refine(image, probabilities, **strengths)
    return labels[refined.argmax(axis=0)]


def refine(
    image: np.ndarray,
    probabilities: np.ndarray,
    *,
    backend: CrfBackend = "lattice",
    **strengths: Unpack[Strengths],
) -> tuple[np.ndarray, np.ndarray]:
    """The labels (K,) uint8 that compete in an image, and their probabilities (K, H, W) after the dense CRF."""
    chosen = competing_labels(torch.from_numpy(probabilities), ratio=COMPETING_RATIO, area=COMPETING_AREA)
    labels = chosen.numpy().astype(np.uint8)
    kept = probabilities[labels]
    if len(labels) == 1:
        return labels, np.ones_like(kept)
    return labels, dense_crf(image, kept / kept.sum(axis=0), **strengths, backend=backend)
