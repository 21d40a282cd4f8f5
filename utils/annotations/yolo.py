"""Ultralytics' segmentation format: images/NAME.jpg, labels/NAME.txt, data.yaml; a line per part, `class x y x y …`.

Coordinates are fractions of width and height, of pixels' centres. A line is one polygon without holes: a path of no
width leads to each. The format has no place for scores.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import yaml

from utils.annotations.regions import AnnotatedPhoto, Extent, LabelledPhoto, Shape, bridged, damaged, outlines
from utils.config.yaml_text import read_yaml
from utils.errors import UserError
from utils.files.atomic import write_lines, write_text
from utils.files.linking import place
from utils.files.text import read_text

FILE, IMAGES, LABELS = "data.yaml", "images", "labels"


def of_photo(photo: LabelledPhoto, out: Path, classes: Sequence[str], *, copy: bool = False) -> None:
    """Writes the lines of a photo, and links its image beside, or copies it."""
    height, width = photo.size
    lines = []
    for region in photo.regions:
        for outer, holes in outlines(region.mask):
            points = (bridged(outer, holes) + 0.5) / (width, height)
            lines.append(" ".join([str(region.label - 1), *(f"{value:.7f}" for value in points.ravel())]))
    write_lines(out / LABELS / f"{photo.name}.txt", lines)
    place(photo.image, out / IMAGES / f"{photo.name}{photo.image.suffix}", copy=copy)


def finish(out: Path, entries: Sequence[None], classes: Sequence[str]) -> Path:
    content = {"path": str(out.resolve()), "train": IMAGES, "val": IMAGES, "names": dict(enumerate(classes))}
    write_text(out / FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return out / FILE


def read(folder: Path) -> list[AnnotatedPhoto]:
    """Every photo with a file in labels/. Raises UserError that names what is wrong: a file, a line and the rule."""
    names = _names(folder / FILE)
    labels = folder / LABELS
    files = sorted(labels.rglob("*.txt"))
    return [_photo(path, path.relative_to(labels).with_suffix("").as_posix(), names) for path in files]


def _names(path: Path) -> dict[int, str]:
    content = read_yaml(path)
    with damaged(path, "expected `names:`, a list of class names or index: name", "correct it"):
        if "kpt_shape" in content:
            raise ValueError("it is of a dataset of poses")
        names = content["names"]
        names = names if isinstance(names, dict) else dict(enumerate(names))
        if not all(isinstance(name, (str, int, float)) for name in names.values()):
            raise ValueError("names that are no text")
        return {int(key): str(name) for key, name in names.items()}


def _photo(path: Path, name: str, names: dict[int, str]) -> AnnotatedPhoto:
    shapes = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            index, *values = line.split()
            label, points = names[int(index)], np.array([float(value) for value in values])
            if len(points) == 4:  # a box: its centre and its size
                x, y, w, h = points
                points = np.array(
                    [x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2]
                )
            if len(points) < 6 or len(points) % 2 or not ((points >= -0.01) & (points <= 1.01)).all():
                raise ValueError(f"{len(points)} coordinates")
        except (ValueError, KeyError) as error:
            rule = f"expected `CLASS x y x y x y …`, CLASS one of {sorted(names)}, coordinates in 0..1"
            raise UserError(f"{line[:40]!r} ({error})", f"{path}:{number}", rule) from error
        extent: Extent = "box" if len(values) == 4 else "region"
        shapes.append((_area(points), Shape(label, partial(draw_polygon, points.reshape(-1, 2)), extent)))
    ordered = tuple(shape for _, shape in sorted(shapes, key=lambda pair: -pair[0]))
    return AnnotatedPhoto(name, None, ordered, str(path))


def _area(points: np.ndarray) -> float:
    x, y = points[::2], points[1::2]
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def draw_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a polygon (K, 2) in fractions, as ultralytics' polygon2mask draws it."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [(points * size[::-1]).astype(np.int32)], color=[1])
    return mask.astype(bool)
