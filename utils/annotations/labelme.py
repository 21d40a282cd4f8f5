"""labelme's JSON, a file per photo. Its polygons have no holes: a path of no width leads to each.

The parts of a region are polygons of one group_id. labelme has no place for scores.
"""

import base64
import io
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from utils.annotations.regions import (
    AnnotatedPhoto,
    Extent,
    LabelledPhoto,
    Shape,
    bridged,
    damaged,
    outlines,
    stated_size,
)
from utils.data.run_lengths import FARTHEST
from utils.files.atomic import read_json, write_json
from utils.files.manifest import RECORD

RULE, REMEDY = (
    "expected imagePath, imageHeight, imageWidth and shapes with label and points",
    "save it again by labelme",
)
VERSION = "5.5.0"  # of the format; later versions read it


def of_photo(photo: LabelledPhoto, out: Path, classes: Sequence[str]) -> None:
    """Writes OUT/NAME.json, which names the photo by its path from there."""
    path = out / f"{photo.name}.json"
    shapes = [
        _polygon(classes[region.label - 1], bridged(outer, holes), group)
        for group, region in enumerate(photo.regions, start=1)
        for outer, holes in outlines(region.mask)
    ]
    content: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": Path(os.path.relpath(photo.image.resolve(), path.parent.resolve())).as_posix(),
        "imageData": None,
        "imageHeight": photo.size[0],
        "imageWidth": photo.size[1],
    }
    write_json(path, content)


def _polygon(label: str, ring: np.ndarray, group: int) -> dict[str, Any]:
    points = ring.astype(float).tolist()
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }


def finish(out: Path, entries: Sequence[None], classes: Sequence[str]) -> Path:
    """There is no file of all photos: the folder is the result."""
    return out


def read(folder: Path) -> list[AnnotatedPhoto]:
    """Every photo with a file below the folder. Raises UserError that names a file of another form."""
    files = (path for path in folder.rglob("*.json") if not path.name.startswith(".") and path.name != RECORD)
    return [_photo(path) for path in sorted(files)]


def is_one(path: Path) -> bool:
    """Whether a JSON file is one of labelme, by its keys."""
    content = read_json(path, remedy="remove it, or save it again by labelme")
    return isinstance(content, dict) and {"shapes", "imagePath"} <= set(content)


def _photo(path: Path) -> AnnotatedPhoto:
    content = read_json(path, remedy="save it again by labelme")
    with damaged(path, RULE, REMEDY):
        name, size = str(content["imagePath"]), stated_size(content["imageHeight"], content["imageWidth"])
        shapes = list(content["shapes"])
    found = []
    for number, shape in enumerate(shapes, start=1):
        with damaged(f"{path}: shape {number}", RULE, REMEDY):
            found.append(_shape(shape))
    return AnnotatedPhoto(name, size, tuple(found), str(path))


def _shape(shape: dict[str, Any]) -> Shape:
    kind = shape.get("shape_type") or "polygon"
    if kind not in (*DRAWN, *WITHOUT_PIXELS):
        raise ValueError(f"the shape_type {kind!r} is unknown")
    draw = partial(draw_shape, shape)
    draw((1, 1))  # whether it can be
    extent: Extent = "box" if kind == "rectangle" else "region" if kind in DRAWN else "none"
    return Shape(str(shape["label"]), draw, extent)


def draw_shape(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a shape, as labelme's own shape_to_mask draws it. Points and lines cover nothing."""
    kind, points = shape.get("shape_type") or "polygon", [tuple(map(float, point)) for point in shape["points"]]
    if not all(abs(value) <= FARTHEST for point in points for value in point):
        raise ValueError("invalid coordinates")
    image = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(image)
    if kind == "polygon":
        if len(points) < 3:
            raise ValueError(f"a polygon of {len(points)} points")
        draw.polygon(points, outline=1, fill=1)
    elif kind == "rectangle":
        (x1, y1), (x2, y2) = points
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=1, fill=1)
    elif kind == "circle":
        (x, y), (px, py) = points
        radius = float(np.hypot(x - px, y - py))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif kind == "mask":
        image.paste(_mask_of(shape["mask"]), (round(points[0][0]), round(points[0][1])))
    return np.asarray(image)


def _mask_of(text: str) -> Image.Image:
    """Decode a mask, a PNG as base64 text. Raises ValueError."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text)))
        return image.convert("1")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its mask is not an image ({error})") from error


DRAWN = ("polygon", "rectangle", "circle", "mask")
WITHOUT_PIXELS = ("point", "points", "line", "linestrip")
