"""Dense CRF over only the labels that compete in an image; the others cost time and win nowhere."""

from typing import Unpack

import numpy as np

from utils.config.valid import CrfBackend
from utils.crf.dense import dense_crf
from utils.crf.strengths import Strengths

# a label takes part in the CRF if it is the most probable on any pixel, or has at least this ratio to the most probable
# label on at least this fraction of the pixels
COMPETING_RATIO, COMPETING_AREA = 0.4, 0.001


def competing_labels(probabilities: np.ndarray, *, ratio: float, area: float = 0.0) -> np.ndarray:
    """Return the labels that win or nearly win, (K,) uint8, sorted. probabilities (L, H, W).

    These are the labels that are most probable on any pixel, however small their object is, and those that are at least
    `ratio` times as probable as the strongest one on at least one pixel and at least the fraction `area` of all pixels.
    """
    strongest = probabilities.max(axis=0)
    # one label after the other: of all at once, a large image needs gigabytes
    wins = np.array([(label == strongest).any() for label in probabilities])
    near = ratio * strongest
    pixels = np.array([np.count_nonzero(label >= near) for label in probabilities])
    return np.flatnonzero(wins | ((pixels > 0) & (pixels >= area * strongest.size))).astype(np.uint8)


def crf_label(image: np.ndarray, probabilities: np.ndarray, **strengths: Unpack[Strengths]) -> np.ndarray:
    """Label each pixel by a dense CRF over the competing labels. Returns (H, W) uint8.

    image (H, W, 3) uint8 RGB, probabilities (L, H, W), strengths as in dense_crf. The time grows with the number of
    labels. A label wins in the CRF only where it is nearly the strongest and its neighbours support it, so labels that
    are far behind nearly everywhere can be dropped.
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
    """Return the competing labels (K,) uint8 and their probabilities (K, H, W) after the dense CRF."""
    labels = competing_labels(probabilities, ratio=COMPETING_RATIO, area=COMPETING_AREA)
    kept = probabilities[labels]
    if len(labels) == 1:
        return labels, np.ones_like(kept)
    return labels, dense_crf(image, kept / kept.sum(axis=0), **strengths, backend=backend)
