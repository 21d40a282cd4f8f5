"""COCO's instance annotations, one JSON file for all photos.

A region without holes is a list of polygons, one per part; one with holes is compressed run lengths, since polygons of
COCO have none. Polygons run a quarter of a pixel inside the outermost pixels' edges: pycocotools draws the same pixels.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.regions import (
    AnnotatedPhoto,
    Extent,
    LabelledPhoto,
    Region,
    Shape,
    damaged,
    outlines,
    stated_size,
    without_straight,
)
from utils.data.run_lengths import checked_segmentation, draw_segmentation, encode_runs
from utils.files.atomic import read_json, write_json

FILE = "instances.json"
RULE = "expected COCO's instances: images, categories, and annotations with polygons or run lengths"


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
    with damaged(path, RULE):
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        of_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        if len(names) < len(content["categories"]):
            raise ValueError("two categories have one id")
        if len(of_image) < len(content["images"]):
            raise ValueError("two images have one id")
        for annotation in content["annotations"]:
            if annotation["image_id"] not in of_image:
                raise ValueError(f"annotation {annotation.get('id')} is of image {annotation['image_id']}, not listed")
            of_image[annotation["image_id"]].append(annotation)
        return [_photo(path, image, of_image[image["id"]], names) for image in content["images"]]


def _photo(
    path: Path, image: dict[str, Any], annotations: Sequence[dict[str, Any]], names: dict[Any, str]
) -> AnnotatedPhoto:
    where = f"{path}: image {image['id']}"
    with damaged(where, RULE):
        name, size = str(image["file_name"]), stated_size(image["height"], image["width"])
    drawn = []
    for annotation in annotations:
        with damaged(f"{path}: annotation {annotation.get('id')} of image {image['id']}", RULE):
            drawn.append(_shape(annotation, size, names))
    shapes = tuple(shape for _, shape in sorted(drawn, key=lambda pair: -pair[0]))
    return AnnotatedPhoto(name, size, shapes, f"{path.name}: image {image['id']}")


def _shape(annotation: dict[str, Any], size: tuple[int, int], names: dict[Any, str]) -> tuple[int, Shape]:
    """The area of an annotation in pixels, and its shape."""
    if annotation["category_id"] not in names:
        raise ValueError(f"the category {annotation['category_id']} is not listed")
    outline: Any = annotation.get("segmentation")
    extent: Extent = "region" if outline else "box"
    outline = outline or _box(annotation["bbox"])
    draw = partial(_draw, checked_segmentation(outline, *size))
    return int(draw(size).sum()), Shape(names[annotation["category_id"]], draw, extent)


def _draw(shape: Any, size: tuple[int, int]) -> np.ndarray:
    return draw_segmentation(shape, *size)


def _box(box: Sequence[float]) -> list[list[float]]:
    left, top, width, height = map(float, box)
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]
