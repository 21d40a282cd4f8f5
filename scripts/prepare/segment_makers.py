"""Computes class-agnostic segments: superpixels, regions of masks, and masks of a segmenter in an ONNX file."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from scripts.prepare.onnx_model import open_model
from utils.data.catalog import IGNORE_INDEX
from utils.data.run_lengths import encode_runs
from utils.errors import UserError
from utils.runtime.optional import optional_module

Superpixels = Literal["watershed", "felzenszwalb", "slic"]
Segmenter = Callable[[Image.Image], list[dict[str, Any]]]  # RGB photo -> run lengths at its size

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
    note = ", or give --method=watershed, which does not need it"
    return optional_module("skimage.segmentation", "scikit-image", note)


def watershed(photo: np.ndarray, size: int) -> np.ndarray:
    """Run OpenCV's watershed on the smoothed colours with one seed per cell of a grid -> ids (H, W) from 1.

    A seed is the pixel of its cell with the smallest gradient: Waterpixels, Machairas et al., IEEE TIP 2015, without
    the distance term, so that borders only follow the image.
    """
    smooth = cv2.GaussianBlur(photo, (0, 0), SMOOTHING)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    colours = lab.astype(np.float32)
    height, width = photo.shape[:2]
    gradient = np.zeros((height, width), np.float32)
    for axis in (0, 1):
        if colours.shape[axis] > 1:  # np.gradient needs two pixels
            gradient += (np.gradient(colours, axis=axis) ** 2).sum(axis=2)
    seeds = np.zeros(gradient.shape, np.int32)
    corners = product(range(0, height, size), range(0, width, size))
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


def onnx_segmenter(
    path: Path,
    *,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    output: int,
    mask_threshold: float,
    score_output: int | None,
    min_score: float,
) -> Segmenter:
    """Load an ONNX model: one RGB image -> masks (1, M, h, w) and, with score_output, scores (1, M).

    A pixel is in a mask where its value, enlarged to the photo, exceeds mask_threshold. Raises UserError like
    open_model, and if outputs have other shapes.
    """
    options = {"output": output} | ({"score_output": score_output} if score_output is not None else {})

    def chosen(outputs: list[Any]) -> np.ndarray:
        """Return the masks (M, h, w) to keep."""
        masks = np.asarray(outputs[output])
        if masks.ndim < 3 or masks.size != np.prod(masks.shape[-3:]):
            rule = "it must be masks (1, M, h, w)"
            raise UserError(f"--output={output} is of shape {masks.shape}", path, rule, "give another --output")
        masks = masks.reshape(masks.shape[-3:])
        if score_output is None:
            return masks
        scores = np.asarray(outputs[score_output])
        if scores.size != len(masks):
            what = f"--score_output={score_output} is of shape {scores.shape}"
            raise UserError(what, path, f"it must be a score per mask, of which there are {len(masks)}", "give another")
        return masks[scores.ravel() >= min_score]

    model = open_model(path, input_size=input_size, mean=mean, std=std, options=options, accept=chosen)

    def segment(photo: Image.Image) -> list[dict[str, Any]]:
        enlarged = (_enlarged(mask, photo.size) > mask_threshold for mask in chosen(model(photo)))
        return [encode_runs(mask) for mask in enlarged if mask.any()]

    return segment


def _enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
