"""Imperfect saliency for the demo data: imitates a salient-object detector, starting from the true objects."""

import cv2
import numpy as np

from scripts.demo.sprites import smooth_noise

MISS_OBJECT_ODDS = 0.35  # probability of missing an object; the largest one is never missed
CHUNK_ODDS = 0.6
CLUTTER_ODDS = 0.35
FALSE_BLOB_ODDS = 0.5


def _blob(shape: tuple[int, int], centre: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Return the mask of a round region of about `area` pixels with a wavy edge. centre: (row, column)."""
    rows, columns = np.indices(shape, dtype=np.float32)
    stretch = rng.uniform(0.75, 1.33)
    distance = np.hypot((rows - centre[0]) * stretch, (columns - centre[1]) / stretch)
    return distance < np.sqrt(area / np.pi) * (1 + 0.2 * smooth_noise(rng, *shape, (6, 6)))


def _detected(instance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the strength 0..1 (H, W) with which each object is detected: some not at all, some partially."""
    strength = np.zeros(instance.shape, np.float32)
    areas = np.bincount(instance.ravel())
    areas[0] = 0
    for number in np.flatnonzero(areas):
        if number != areas.argmax() and rng.random() < MISS_OBJECT_ODDS:
            continue
        inside = instance == number
        strength[inside] = rng.uniform(0.75, 1.0)
        if rng.random() < CHUNK_ODDS:
            centre = rng.choice(np.argwhere(inside))
            chunk = _blob(instance.shape, centre, areas[number] * rng.uniform(0.15, 0.45), rng)
            strength[inside & chunk] *= rng.uniform(0.0, 0.4)
    return strength


def _false_alarms(instance: np.ndarray, clutter: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the strength 0..1 (H, W) with which clutter and patches of background are mistaken for objects."""
    strength = np.zeros(instance.shape, np.float32)
    for number in range(1, int(clutter.max()) + 1):
        if rng.random() < CLUTTER_ODDS:
            strength[clutter == number] = rng.uniform(0.5, 1.0)
    if rng.random() < FALSE_BLOB_ODDS:
        centre = rng.uniform(0, 1, 2) * instance.shape
        strength[_blob(instance.shape, centre, instance.size * rng.uniform(0.02, 0.08), rng)] = rng.uniform(0.4, 0.9)
    return strength


def imperfect_saliency(instance: np.ndarray, clutter: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the soft, class-independent saliency of a picture.

    instance (H, W): 1, 2, ... on the objects, 0 elsewhere. clutter (H, W): likewise. Returns (H, W) uint8 in 0..255.
    """
    height, width = instance.shape
    strength = np.maximum(_detected(instance, rng), _false_alarms(instance, clutter, rng))
    size = 2 * int(rng.integers(0, 4)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    strength = cv2.dilate(strength, kernel) if rng.random() < 0.6 else cv2.erode(strength, kernel)
    # blur, perturb, sharpen: the edge stays in place on average but becomes blobby
    soft = cv2.GaussianBlur(strength, (0, 0), rng.uniform(2.0, 4.5))
    edge = 4 * soft * (1 - soft)
    soft = soft + 0.22 * edge * smooth_noise(rng, height, width, (9, 9))
    sharp = 1 / (1 + np.exp(-rng.uniform(6, 12) * (soft - 0.45)))
    haze = 0.04 * np.abs(smooth_noise(rng, height, width, (4, 4)))
    return np.clip(np.rint(255 * (0.9 * sharp + haze)), 0, 255).astype(np.uint8)
