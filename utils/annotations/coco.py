"""COCO's instance annotations, one JSON file for all photos.

A region without holes is a list of polygons, one per part; one with holes is compressed run lengths, since polygons of
COCO have none. Polygons run a quarter of a pixel inside the outermost pixels' edges: pycocotools draws the same pixels.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.regions import AnnotatedPhoto, LabelledPhoto, Region, Shape, outlines, without_straight
from utils.data.run_lengths import draw_segmentation, encode_runs
from utils.errors import UserError
from utils.files.atomic import read_json, write_json

FILE = "instances.json"


def of_photo(photo: LabelledPhoto, out: Path, classes: Sequence[str]) -> dict[str, Any]:
    """The entries of a photo, still without numbers."""
    height, width = photo.size
    image = {"file_name": photo.image.name, "height": height, "width": width}
    if "/" in photo.name:
        image["file_name"] = str(Path(photo.name).parent / photo.image.name)
    return {"image": image, "annotations": [_annotation(region) for region in photo.regions]}


def finish(out: Path, entries: Sequence[dict[str, Any]], classes: Sequence[str]) -> Path:
    """Writes the file: categories count from 1, in the order of the classes."""
    annotations = [
        {"id": 0, "image_id": number, **annotation}
        for number, entry in enumerate(entries, start=1)
        for annotation in entry["annotations"]
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    content = {
        "info": {},
        "licenses": [],
        "images": [{"id": number, **entry["image"]} for number, entry in enumerate(entries, start=1)],
        "categories": [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(classes, start=1)],
        "annotations": annotations,
    }
    write_json(out / FILE, content, indent=None)
    return out / FILE


def _annotation(region: Region) -> dict[str, Any]:
    found: dict[str, Any] = {
        "category_id": region.label,
        "segmentation": segmentation(region.mask),
        "area": region.area,
        "bbox": list(region.box),
        "iscrowd": 0,
    }
    return found if region.score is None else {**found, "score": round(region.score, 4)}


def segmentation(mask: np.ndarray) -> Any:
    """Polygons of a mask (H, W) bool, or run lengths where it has a hole."""
    twice = mask.repeat(2, axis=0).repeat(2, axis=1)
    parts = outlines(twice)
    if not any(holes for _, holes in parts):
        return [(without_straight(outer) / 2 + 0.25).ravel().tolist() for outer, _ in parts]
    return encode_runs(mask)


def read(path: Path) -> list[AnnotatedPhoto]:
    """Every listed image; the smaller shapes lie on the larger. Raises UserError where it is no such file."""
    content = read_json(path, remedy="export it again as COCO instances")
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        of_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        return [_photo(path, image, of_image[image["id"]], names) for image in content["images"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"is not a file of instance annotations ({type(error).__name__}: {error})"
        raise UserError(what, path, "it has images, categories and annotations", "export it again") from error


def _photo(
    path: Path, image: dict[str, Any], annotations: Sequence[dict[str, Any]], names: dict[Any, str]
) -> AnnotatedPhoto:
    size = int(image["height"]), int(image["width"])
    drawn = []
    for annotation in annotations:
        shape = annotation.get("segmentation") or _box(annotation["bbox"])
        draw = partial(_draw, shape)
        drawn.append((int(draw(size).sum()), Shape(names[annotation["category_id"]], draw)))
    shapes = tuple(shape for _, shape in sorted(drawn, key=lambda pair: -pair[0]))
    return AnnotatedPhoto(str(image["file_name"]), size, shapes, f"{path.name}: image {image['id']}")


def _draw(shape: Any, size: tuple[int, int]) -> np.ndarray:
    return draw_segmentation(shape, *size)


def _box(box: Sequence[float]) -> list[list[float]]:
    left, top, width, height = box
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]
