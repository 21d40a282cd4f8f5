"""Computes class-agnostic segments: superpixels of photos, and regions of masks."""

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
    """Compute superpixels of an RGB photo (H, W, 3) uint8 -> ids (H, W) from 1, without gaps.

    size: approximate side of a superpixel in pixels; felzenszwalb's have at least size * size / 4 pixels. scale: only
    for felzenszwalb, larger values give larger segments. Raises UserError if scikit-image is needed but not installed.
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
    """Import scikit-image's segmentation module. Raises UserError if it is not installed."""
    try:
        return importlib.import_module("skimage.segmentation")
    except ImportError as error:
        remedy = "run `pip install scikit-image`, or give --method=watershed, which does not need it"
        raise UserError(f"cannot be imported ({error})", "scikit-image", remedy=remedy) from error


def watershed(photo: np.ndarray, size: int) -> np.ndarray:
    """Run OpenCV's watershed on the smoothed colours with one seed per cell of a grid -> ids (H, W) from 1.

    A seed is the pixel of its cell with the smallest gradient: Waterpixels, Machairas et al., IEEE TIP 2015, without
    the distance term, so that borders only follow the image.
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
    # OpenCV uses the outermost pixels as its own border
    wide_lab = cv2.copyMakeBorder(lab, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    wide_seeds = cv2.copyMakeBorder(seeds, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return _without_lines(cv2.watershed(wide_lab, wide_seeds)[1:-1, 1:-1], colours)


def _without_lines(ids: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Assign pixels of dividing lines (ids below 1) to the neighbour with the nearest colour. Returns ids (H, W)."""
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
    """Number the connected regions of equal label in a mask (H, W) uint8, including background; 255 becomes 0."""
    ids = np.zeros(mask.shape, np.int64)
    for label in np.unique(mask[mask != IGNORE_INDEX]):
        found, _ = ndimage.label(mask == label)
        ids += np.where(found > 0, found + ids.max(), 0)
    return ids
