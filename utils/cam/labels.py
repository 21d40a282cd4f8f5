"""Converts CAMs to label maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# saliency (0..1) of a pixel that may be either; detectors are weak on parts of objects. Measured in docs/results.md
SALIENCY_BORDER = 0.25
SALIENT = 127  # of 255: pixels with saliency above this are salient


def to_uint8(cams: "Tensor | np.ndarray") -> np.ndarray:
    """Convert 0..1 to uint8 0..255, rounded."""
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
    """Label each pixel with its strongest class if its foreground strength exceeds the threshold, else background.

    keys (K,): zero-based classes. cams (K, H, W): uint8 (0..255 = 0..1) or float in 0..1. threshold: in 0..1; equal
    values are background. saliency: (H, W) uint8, combined by foreground_strength; None uses the CAMs alone, as
    published. Returns (H, W) uint8: 0 background, else class + 1; on ties the first of `keys`.
    """
    keys, cams = np.asarray(keys), np.asarray(cams)
    if cams.ndim != 3 or keys.shape != cams.shape[:1]:
        raise ValueError(
            f"keys {keys.shape} and cams {cams.shape}: expected one CAM (H, W) per key, (K,) and (K, H, W)"
        )
    if len(keys) == 0:
        return np.zeros(cams.shape[1:], dtype=np.uint8)
    value, place = strongest_cam(cams)
    labels = (keys + 1).astype(np.uint8)[place]
    strength = foreground_strength(value, saliency, saliency_weight)
    levels = strength / 255.0 if strength.dtype == np.uint8 else strength
    return np.where(levels > threshold, labels, np.uint8(0))


def strongest_cam(cams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the value and the index uint8 (the first on ties) of each pixel's strongest of (K, H, W), both (H, W).

    For up to three CAMs, this takes half the time of argmax and max or less.
    """
    value, place = cams[0], np.zeros(cams.shape[1:], np.uint8)
    for index in range(1, len(cams)):
        place[cams[index] > value] = index
        value = np.maximum(value, cams[index])
    return value, place


def foreground_strength(strongest: np.ndarray, saliency: np.ndarray | None, weight: float) -> np.ndarray:
    """Combine saliency and CAM: weight * saliency + (1 - weight) * strongest CAM.

    strongest (H, W): uint8 (0..255 = 0..1) or float in 0..1; the result has the same type, uint8 rounded. saliency
    (H, W): uint8. The CAM decides which salient regions are objects. An object that the saliency map misses is kept
    where its CAM exceeds threshold / (1 - weight). Saliency without a CAM must exceed threshold / weight.
    """
    if saliency is None or weight == 0:
        return strongest
    if saliency.shape != strongest.shape:
        raise UserError(f"saliency {saliency.shape}, CAMs {strongest.shape}", rule="expected equal sizes")
    if strongest.dtype == np.uint8:
        return np.rint(weight * saliency.astype(np.float32) + (1 - weight) * strongest).astype(np.uint8)
    return (weight / 255 * saliency + (1 - weight) * strongest).astype(strongest.dtype)


def balanced_threshold(of_cams: float, weight: float) -> float:
    """Return the foreground strength of an undecided pixel: CAM at `of_cams` and saliency at SALIENCY_BORDER.

    of_cams: best threshold of the CAMs alone, in 0..1. weight: of the saliency, see foreground_strength.
    """
    return round(weight * SALIENCY_BORDER + (1 - weight) * of_cams, 4)


def disagreement(cams: np.ndarray, saliency: np.ndarray, allowed: float) -> np.ndarray:
    """Return (H, W) bool: where the strongest CAM and the saliency differ by more than `allowed` (0..1).

    cams (K, H, W) and saliency (H, W), both uint8. All False for an image without tags.
    """
    if len(cams) == 0:
        return np.zeros(saliency.shape, bool)
    return np.abs(cams.max(axis=0).astype(np.int16) - saliency) > 255 * allowed


def ambiguous(label: np.ndarray, keys: Sequence[int] | np.ndarray, cams: np.ndarray, margin: float) -> np.ndarray:
    """Return (H, W) bool: object pixels whose class's CAM exceeds every other tag's by less than `margin` (0..1).

    label (H, W): as to_label returns it, perhaps refined. keys (K,), ascending, and cams (K, H, W) uint8: as for
    to_label. All False for an image with one tag or none.
    """
    if len(keys) < 2:
        return np.zeros(label.shape, bool)
    own = (np.asarray(keys) + 1)[:, None, None] == label
    levels = np.asarray(cams).astype(np.int16)
    lead = np.where(own, levels, 0).max(axis=0) - np.where(own, -1, levels).max(axis=0)
    return own.any(axis=0) & (lead < 255 * margin)
