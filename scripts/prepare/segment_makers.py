"""Class-agnostic segments of a photo: superpixels, and regions of masks."""

import importlib
from itertools import product
from types import ModuleType
from typing import Literal

import cv2
import numpy as np
from scipy import ndimage

from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError

Superpixels = Literal["watershed", "felzenszwalb", "slic"]

SMOOTHING = 1.0  # standard deviation of the watershed's filter, pixels


def superpixels(photo: np.ndarray, method: Superpixels, *, size: int, scale: float) -> np.ndarray:
    """RGB photo (H, W, 3) uint8 -> ids (H, W) from 1 that cover it.

    size: side of a superpixel in pixels, roughly; felzenszwalb has none of fewer than size * size / 4 pixels. scale is
    felzenszwalb's alone: larger values make larger segments. Raises UserError where scikit-image is needed and missing.
    """
    if method == "watershed":
        return watershed(photo, size)
    segmentation = scikit_image()
    if method == "felzenszwalb":
        least = max(1, size * size // 4)
        return segmentation.felzenszwalb(photo, scale=scale, sigma=0.8, min_size=least) + 1
    number = max(1, photo.shape[0] * photo.shape[1] // (size * size))
    return segmentation.slic(photo, n_segments=number, compactness=10, start_label=1)


def scikit_image() -> ModuleType:
    """Its module of segmentations. Raises UserError where the package is not installed."""
    try:
        return importlib.import_module("skimage.segmentation")
    except ImportError as error:
        remedy = "run `pip install scikit-image`, or give --method=watershed, which does not need it"
        raise UserError(f"cannot be imported ({error})", "scikit-image", remedy=remedy) from error


def watershed(photo: np.ndarray, size: int) -> np.ndarray:
    """OpenCV's watershed of the smoothed colours from one seed in each cell of a grid -> ids (H, W) from 1.

    A seed is its cell's pixel of least gradient: Waterpixels, Machairas et al., IEEE TIP 2015, without their distance
    term, so that borders follow the image alone.
    """
    smooth = cv2.GaussianBlur(photo, (0, 0), SMOOTHING)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    colours = lab.astype(np.float32)
    gradient = np.sqrt(sum((np.gradient(colours, axis=axis) ** 2).sum(axis=2) for axis in (0, 1)))
    seeds = np.zeros(gradient.shape, np.int32)
    corners = product(range(0, seeds.shape[0], size), range(0, seeds.shape[1], size))
    for number, (top, left) in enumerate(corners, 1):
        cell = gradient[top : top + size, left : left + size]
        y, x = np.unravel_index(cell.argmin(), cell.shape)
        seeds[top + y, left + x] = number
    # OpenCV takes the outermost pixels for its own border
    wide_lab = cv2.copyMakeBorder(lab, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    wide_seeds = cv2.copyMakeBorder(seeds, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return _without_lines(cv2.watershed(wide_lab, wide_seeds)[1:-1, 1:-1], colours)


def _without_lines(ids: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Pixels of dividing lines (below 1) join the neighbour of the nearest colour. (H, W), (H, W, 3) -> (H, W)."""
    while (ids < 1).any():
        around = np.pad(ids, 1, mode="edge")
        colours_around = np.pad(colours, ((1, 1), (1, 1), (0, 0)), mode="edge")
        nearest, joined = np.full(ids.shape, np.inf, np.float32), ids.copy()
        for y, x in ((0, 1), (1, 0), (1, 2), (2, 1)):
            neighbour = around[y : y + ids.shape[0], x : x + ids.shape[1]]
            there = colours_around[y : y + ids.shape[0], x : x + ids.shape[1]]
            distance = np.where(neighbour > 0, ((there - colours) ** 2).sum(axis=2), np.inf)
            closer = (ids < 1) & (distance < nearest)
            nearest[closer], joined[closer] = distance[closer], neighbour[closer]
        ids = joined
    return ids


def regions(mask: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 -> ids (H, W) of its connected regions of one label, background's too; 255 is in none (0)."""
    ids = np.zeros(mask.shape, np.int64)
    for label in np.unique(mask[mask != IGNORE_INDEX]):
        found, _ = ndimage.label(mask == label)
        ids += np.where(found > 0, found + ids.max(), 0)
    return ids
