"""COCO's masks: run lengths, alternating counts of background and mask in column order, and polygons."""

from typing import Any

import numpy as np
from pycocotools import mask as coco

FARTHEST = 100_000  # of a polygon's coordinates from 0, pixels: drawing takes memory in proportion to them


def counts_of(shape: Any, height: int, width: int) -> np.ndarray:
    """Read {"size": [H, W], "counts": numbers, text or bytes} -> counts (R,) int64, which sum to height * width.

    Raises ValueError stating why `shape` is not a mask of an image of this size.
    """
    if not isinstance(shape, dict) or not {"counts", "size"} <= set(shape):
        raise ValueError("it has no run lengths (size and counts)")
    if not isinstance(shape["size"], (list, tuple)) or list(shape["size"]) != [height, width]:
        raise ValueError(f"run lengths of {shape['size']}, the image is {[height, width]}")
    counts = shape["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _decompressed(counts.encode() if isinstance(counts, str) else counts)
    elif not isinstance(counts, list):
        raise ValueError(f"run lengths of type {type(counts).__name__}")
    if not all(type(count) is int for count in counts):
        raise ValueError("run lengths that are not integers")
    if min(counts, default=0) < 0:
        raise ValueError("run lengths below 0")
    if sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels, the image has {height * width}")
    return np.array(counts, np.int64)


def _decompressed(text: bytes) -> list[int]:
    """Decode COCO's text: five bits per character, lowest first, signed; from the third count on, differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError("compressed run lengths with an invalid character")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # the number continues
            continue
        value -= (bits & 16) and 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that end within a number")
    return counts


def mask_of(counts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Decode counts (R,) of counts_of -> (height, width) bool."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def decode_runs(shape: dict[str, Any]) -> np.ndarray:
    """Decode {"size": [H, W], "counts": …} -> (H, W) bool. Raises ValueError like counts_of."""
    height, width = shape["size"]
    return mask_of(counts_of(shape, height, width), height, width)


def encode_runs(mask: np.ndarray) -> dict[str, Any]:
    """Encode (H, W) bool as {"size": [H, W], "counts": text} for JSON."""
    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def checked_segmentation(shape: Any, height: int, width: int) -> Any:
    """Return polygons as arrays (K,) float64, which take a fraction of the memory of lists, and run lengths unchanged.

    Raises ValueError stating why `shape` is neither of an image of this size.
    """
    if not isinstance(shape, list):
        if not isinstance(shape, dict):
            raise ValueError("segmentation is neither polygons nor run lengths")
        counts_of(shape, height, width)
        return shape
    polygons = [np.asarray(polygon) for polygon in shape]
    for polygon in polygons:
        if polygon.dtype.kind not in "iuf":
            raise ValueError("a polygon with coordinates that are not numbers")
        if polygon.ndim != 1 or len(polygon) % 2:
            raise ValueError("a polygon has an odd number of coordinates")
        if not (np.abs(polygon) <= FARTHEST).all():
            raise ValueError("a polygon has invalid coordinates")
    return [polygon.astype(np.float64) for polygon in polygons]


def draw_segmentation(shape: Any, height: int, width: int) -> np.ndarray:
    """Draw polygons, as pycocotools does, or run lengths -> (height, width) bool. Raises ValueError like counts_of."""
    if isinstance(shape, list):
        # COCO's tools interpret four numbers as a box; a polygon with fewer than three corners covers nothing
        polygons = [polygon for polygon in shape if len(polygon) >= 6]
        if not polygons:
            return np.zeros((height, width), bool)
        return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)
    return mask_of(counts_of(shape, height, width), height, width)
