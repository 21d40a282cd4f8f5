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

from utils.annotations.regions import AnnotatedPhoto, LabelledPhoto, Shape, bridged, outlines
from utils.errors import UserError
from utils.files.atomic import read_json, write_json
from utils.files.manifest import RECORD

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
    try:
        size = int(content["imageHeight"]), int(content["imageWidth"])
        shapes = tuple(Shape(str(shape["label"]), partial(draw_shape, shape)) for shape in content["shapes"])
        for shape in shapes:
            shape.draw((1, 1))  # whether it can be
        return AnnotatedPhoto(str(content["imagePath"]), size, shapes, str(path))
    except (KeyError, TypeError, ValueError) as error:
        rule = "it has imagePath, imageHeight, imageWidth and shapes"
        raise UserError(f"is not a file of labelme ({error!r})", path, rule, "save it again by labelme") from error


def draw_shape(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a shape, as labelme's own shape_to_mask draws it. Points and lines cover nothing."""
    kind, points = shape.get("shape_type", "polygon"), [tuple(map(float, point)) for point in shape["points"]]
    image = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(image)
    if kind in ("polygon", None) and len(points) > 2:
        draw.polygon(points, outline=1, fill=1)
    elif kind == "rectangle":
        (x1, y1), (x2, y2) = points
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=1, fill=1)
    elif kind == "circle":
        (x, y), (px, py) = points
        radius = float(np.hypot(x - px, y - py))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif kind == "mask":
        part = Image.open(io.BytesIO(base64.b64decode(shape["mask"]))).convert("1")
        image.paste(part, (round(points[0][0]), round(points[0][1])))
    return np.asarray(image)
