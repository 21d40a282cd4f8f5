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
CORE = 0.7  # of a CAM's maximum: above it are the pixels of which the class is surest
LEAST_SUPPORT = 1 / 3  # of saliency_support: a core that is less salient has no support. Measured in docs/results.md


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
    saliency_support: float = 0.0,
) -> np.ndarray:
    """Label each pixel with its strongest class if its foreground strength exceeds the threshold, else background.

    keys (K,): zero-based classes. cams (K, H, W): uint8 (0..255 = 0..1) or float in 0..1. threshold: in 0..1; equal
    values are background. saliency: (H, W) uint8, combined as in strongest_class; None uses the CAMs alone, as
    published. Returns (H, W) uint8: 0 background, else class + 1; on ties the first of `keys`.
    """
    keys, cams = np.asarray(keys), np.asarray(cams)
    if cams.ndim != 3 or keys.shape != cams.shape[:1]:
        raise ValueError(
            f"keys {keys.shape} and cams {cams.shape}: expected one CAM (H, W) per key, (K,) and (K, H, W)"
        )
    if len(keys) == 0:
        return np.zeros(cams.shape[1:], dtype=np.uint8)
    strength, place = strongest_class(cams, saliency, weight=saliency_weight, support=saliency_support)
    labels = (keys + 1).astype(np.uint8)[place]
    levels = strength / 255.0 if strength.dtype == np.uint8 else strength
    return np.where(levels > threshold, labels, np.uint8(0))


def check_saliency_use(weight: float, support: float) -> None:
    """Raise UserError if --saliency_support is given, but saliency is not used."""
    if support > 0 and weight == 0:
        raise UserError(f"--saliency_support={support:g}", rule="expected --saliency_weight above 0 with it")


def strongest_class(
    cams: np.ndarray, saliency: np.ndarray | None, *, weight: float, support: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the foreground strength and the index uint8 of each pixel's strongest class, both (H, W).

    cams (K, H, W): uint8 (0..255 = 0..1) or float in 0..1; the strength has the same type. saliency (H, W): uint8, or
    None. weight: of the saliency. support: 0, or the mean saliency of a core at which its class uses the whole weight
    (see saliency_weights). If all classes use one weight, the strongest class is that of the strongest CAM.
    """
    if saliency is None or weight == 0:
        return strongest_cam(cams)
    weights = saliency_weights(cams, saliency, weight, support)
    if (weights == weights[0]).all():
        value, place = strongest_cam(cams)
        return foreground_strength(value, saliency, float(weights[0])), place
    joined = [foreground_strength(cam, saliency, float(own)) for cam, own in zip(cams, weights)]
    return strongest_cam(np.stack(joined))


def saliency_weights(cams: np.ndarray, saliency: np.ndarray, weight: float, support: float) -> np.ndarray:
    """Return the weight (K,) of the saliency for each class: less where the saliency map misses the class's object.

    cams (K, H, W), saliency (H, W) uint8: as in strongest_class. A class's core is where its CAM exceeds CORE of its
    maximum. The weight is whole if the mean saliency (0..1) of the core is `support` or more, 0 from LEAST_SUPPORT of
    it down, and linear in between. support 0: always the whole weight.
    """
    _check_sizes(cams[0], saliency)
    if support == 0:
        return np.full(len(cams), float(weight))
    cores = (cam > CORE * cam.max() for cam in cams)
    means = np.array([saliency[core].mean() / 255 if core.any() else 0.0 for core in cores])
    least = LEAST_SUPPORT * support
    return weight * np.clip((means - least) / (support - least), 0, 1)


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
    _check_sizes(strongest, saliency)
    if strongest.dtype == np.uint8:
        return np.rint(weight * saliency.astype(np.float32) + (1 - weight) * strongest).astype(np.uint8)
    return (weight / 255 * saliency + (1 - weight) * strongest).astype(strongest.dtype)


def _check_sizes(cam: np.ndarray, saliency: np.ndarray) -> None:
    if saliency.shape != cam.shape:
        raise UserError(f"saliency {saliency.shape}, CAMs {cam.shape}", rule="expected equal sizes")


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
