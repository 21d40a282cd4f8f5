"""From CAMs to label maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# saliency, 0..1, of a pixel that may be either: detectors are faint on parts of objects. Measured: docs/results.md
SALIENCY_BORDER = 0.25


def to_uint8(cams: "Tensor | np.ndarray") -> np.ndarray:
    """0..1 -> 0..255, rounded to the nearest."""
    if isinstance(cams, np.ndarray):
        return np.rint(cams * 255).astype(np.uint8)
    return (cams * 255).round_().byte().cpu().numpy()


def to_label(
    keys: Sequence[int] | np.ndarray,
    cams: np.ndarray,
    threshold: float,
    *,
    saliency: np.ndarray | None = None,
    saliency_weight: float = 0.0,
) -> np.ndarray:
    """Each pixel's strongest class where the foreground's strength is above the threshold, else background.

    keys (K,) zero-based classes; cams (K, H, W) uint8 (0..255 = 0..1) or float in 0..1; threshold in 0..1, itself
    background; saliency (H, W) uint8, joined as foreground_strength says, None: the CAMs alone, as published.
    -> (H, W) uint8: 0 background, class + 1 elsewhere; of equally strong classes the first of `keys`.
    """
    keys, cams = np.asarray(keys), np.asarray(cams)
    if cams.ndim != 3 or keys.shape != cams.shape[:1]:
        raise ValueError(f"keys {keys.shape} and cams {cams.shape}: there is one CAM (H, W) a key, (K,) and (K, H, W)")
    if len(keys) == 0:
        return np.zeros(cams.shape[1:], dtype=np.uint8)
    labels = (keys + 1).astype(np.uint8)[cams.argmax(axis=0)]
    strength = foreground_strength(cams.max(axis=0), saliency, saliency_weight)
    levels = strength / 255.0 if strength.dtype == np.uint8 else strength
    return np.where(levels > threshold, labels, np.uint8(0))


def foreground_strength(strongest: np.ndarray, saliency: np.ndarray | None, weight: float) -> np.ndarray:
    """How much a pixel is foreground: `weight` times its saliency, and the rest times its strongest CAM.

    strongest (H, W) uint8 (0..255 = 0..1) or float in 0..1, which is what comes back; saliency (H, W) uint8.
    So the CAM decides which salient regions are objects, an object that the saliency map misses stays where the CAM
    alone exceeds threshold / (1 - weight), and saliency alone needs threshold / weight. A uint8 is rounded.
    """
    if saliency is None or weight == 0:
        return strongest
    if saliency.shape != strongest.shape:
        raise UserError(f"saliency {saliency.shape}, CAMs {strongest.shape}", rule="they must have one size")
    if strongest.dtype == np.uint8:
        return np.rint(weight * saliency.astype(np.float32) + (1 - weight) * strongest).astype(np.uint8)
    return (weight / 255 * saliency + (1 - weight) * strongest).astype(strongest.dtype)


def balanced_threshold(of_cams: float, weight: float) -> float:
    """The joined strength of a pixel about which both are undecided: CAM at `of_cams`, saliency at SALIENCY_BORDER.

    of_cams in 0..1 is the best threshold of the CAMs alone, `weight` the saliency's in foreground_strength.
    """
    return round(weight * SALIENCY_BORDER + (1 - weight) * of_cams, 4)


def disagreement(cams: np.ndarray, saliency: np.ndarray, allowed: float) -> np.ndarray:
    """Where the strongest CAM and the saliency differ by more than `allowed`, in 0..1. -> (H, W) bool.

    cams (K, H, W) and saliency (H, W), both uint8. An image without tags disagrees nowhere.
    """
    if len(cams) == 0:
        return np.zeros(saliency.shape, bool)
    return np.abs(cams.max(axis=0).astype(np.int16) - saliency) > 255 * allowed
