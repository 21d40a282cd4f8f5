"""Reads saliency maps and label maps from any kind of PNG.

A saliency map is read as grey values 0..255, a label map as class indices.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from utils.data.palette import PALETTE
from utils.errors import UserError

SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
# difference between channels, in grey levels, that JPEG's rounding causes in a grey map
GREY_SPREAD = 24
COLOURED = 0.01  # a map is coloured if this fraction of its pixels has a larger spread
PALETTE_TOLERANCE = 4  # for rounding by PNG optimisers; colours of VOC's palette are at least 32 apart
# factors by which Pillow scales grey PNGs of 2 and 4 bits per pixel to 0..255
FEW_BITS = {"L;2": 85, "L;4": 17}
CUT_OUT = "cut-outs: alpha channel used as the map"
REMAPPED = "label maps whose palette has VOC's colours in another order: read by colour"


def saliency_of(image: Image.Image, path: Path) -> tuple[np.ndarray, str | None]:
    """Convert an image to a saliency map (H, W) uint8. Also returns a note if it was converted, else None.

    A non-constant alpha channel is the map (cut-outs of background removers). 16-bit values are divided by 257.
    Raises UserError for colours.
    """
    if image.mode in SIXTEEN_BIT:
        return np.clip(np.round(np.asarray(image) / 257), 0, 255).astype(np.uint8), None
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < alpha.max():
            return alpha, CUT_OUT
        image = image.convert("RGBA").convert("RGB")
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L")), None
    if image.mode not in ("RGB", "P", "CMYK", "YCbCr"):
        raise UserError(
            f"is an image of mode {image.mode}", path, "expected a grey saliency map", "save it as 8-bit grey"
        )
    pixels = np.asarray(image.convert("RGB"))
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    if np.count_nonzero(spread > GREY_SPREAD) > COLOURED * spread.size:
        rule = "expected a grey saliency map, white where an object stands out"
        raise UserError(f"is a coloured image (mode {image.mode})", path, rule, "save it as grey values")
    return np.asarray(image.convert("L")), None


def label_of(image: Image.Image, path: Path, bits: str = "") -> tuple[np.ndarray, str | None]:
    """Convert an image to class indices (H, W) uint8. Also returns a note if it was converted, else None.

    bits: Pillow's raw mode of the file. If the palette has VOC's colours at other indices, they are mapped back.
    Raises UserError for colours without a palette, and if the palette contradicts the indices.
    """
    rule = "expected class indices (mode P or L)"
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), None
    if image.mode == "L":
        return np.asarray(image) // np.uint8(FEW_BITS.get(bits, 1)), None
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image)
        if values.max() > 255:
            raise UserError(f"contains the value {values.max()}", path, rule, "values are 0 to 255")
        return values.astype(np.uint8), None
    if image.mode != "P":
        raise UserError(f"is an {image.mode} image", path, rule, "convert colours to indices first")
    table = _by_colour(image, path)
    indices = np.asarray(image)
    return (indices, None) if table is None else (table[indices], REMAPPED)


def _by_colour(image: Image.Image, path: Path) -> np.ndarray | None:
    """Return (256,) uint8: index -> class by its colour. None if the indices are the classes."""
    colours = np.array(image.getpalette("RGB") or [], np.int16).reshape(-1, 3)[:256]
    if np.array_equal(colours, PALETTE[: len(colours)]):
        return None
    used = np.array([index for _, index in image.getcolors(256) or []], np.int64)
    used = used[used < len(colours)]
    distance = np.abs(colours[used][:, None] - PALETTE[None].astype(np.int16)).max(axis=2)
    nearest = distance.argmin(axis=1)
    if (nearest == used).all():
        return None
    if (distance.min(axis=1) <= PALETTE_TOLERANCE).all() and len(set(nearest.tolist())) == len(used):
        table = np.arange(256, dtype=np.uint8)
        table[used] = nearest
        return table
    # a palette of other colours does not define the classes, but black always means background
    is_black = (colours[used] == 0).all(axis=1)
    grey = (colours[used].max(axis=1) - colours[used].min(axis=1) <= PALETTE_TOLERANCE).all()
    if is_black.any() and 0 in used and not is_black[used == 0].all() and not grey:
        what = f"index 0 (background) is coloured, and black is index {used[is_black][0]}"
        raise UserError(what, path, "the palette contradicts the indices", "save the indices that it was made with")
    return None
