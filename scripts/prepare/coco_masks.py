"""COCO's instance annotations as tags and label maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from utils.data.catalog import COCO_CLASSES, IGNORE_INDEX
from utils.errors import UserError
from utils.files.disk import disk_errors


@dataclass(frozen=True)
class Instance:
    """One annotated object. tag is zero-based; area in pixels; shape: polygons or run lengths, as in the file."""

    tag: int
    is_crowd: bool
    area: float
    shape: Any


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its size in pixels and its instances, of which there is at least one."""

    name: str
    file_name: str
    height: int
    width: int
    instances: tuple[Instance, ...]

    @property
    def tags(self) -> tuple[int, ...]:
        return tuple(sorted({instance.tag for instance in self.instances}))


def read_instances(path: Path) -> list[AnnotatedImage]:
    """The images with annotations, by id. Raises UserError where it is not an instance file of COCO's 80 classes."""
    try:
        with disk_errors(path):
            coco = COCO(str(path))
        categories = [coco.cats[number]["name"] for number in sorted(coco.cats)]
        tag_of = {number: tag for tag, number in enumerate(sorted(coco.cats))}
        images = [_annotated(coco.imgs[number], coco.imgToAnns[number], tag_of) for number in sorted(coco.imgToAnns)]
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        what = f"is not a file of instance annotations ({type(error).__name__}: {error})"
        raise UserError(what, path, remedy="unpack it again") from error
    if tuple(categories) != COCO_CLASSES:
        strange = sorted(set(categories) ^ set(COCO_CLASSES)) or "their order"
        raise UserError(f"{len(categories)} classes (differing: {strange})", path, "expected COCO's 80")
    return images


def _annotated(image: dict[str, Any], annotations: Sequence[dict[str, Any]], tag_of: dict[int, int]) -> AnnotatedImage:
    instances = tuple(
        Instance(tag_of[a["category_id"]], bool(a["iscrowd"]), float(a["area"]), _compact(a["segmentation"]))
        for a in annotations
    )
    name = Path(image["file_name"])
    return AnnotatedImage(name.stem, name.name, int(image["height"]), int(image["width"]), instances)


def _compact(shape: Any) -> Any:
    """Polygons as arrays: as lists of numbers, those of all of COCO fill gigabytes."""
    return [np.asarray(polygon, np.float64) for polygon in shape] if isinstance(shape, list) else shape


def label_map(image: AnnotatedImage, *, crowd: str) -> np.ndarray:
    """Label map (H, W) uint8, tag + 1 of the instances, the smaller on top of the larger; crowds lie under all.

    crowd: `class` gives a crowd region its class, `ignore` 255.
    """
    label = np.zeros((image.height, image.width), np.uint8)
    for instance in sorted(image.instances, key=lambda i: (not i.is_crowd, -i.area)):
        value = IGNORE_INDEX if instance.is_crowd and crowd == "ignore" else instance.tag + 1
        label[_pixels(instance.shape, image.height, image.width)] = value
    return label


def _pixels(shape: Any, height: int, width: int) -> np.ndarray:
    """(H, W) bool of polygons, or of run lengths as numbers or compressed."""
    if isinstance(shape, list):
        # COCO's tools take four numbers for a box: what has fewer than three corners covers nothing
        polygons = [polygon for polygon in shape if len(polygon) >= 6]
        if not polygons:
            return np.zeros((height, width), bool)
        encoded = run_lengths.merge(run_lengths.frPyObjects(polygons, height, width))
    else:
        encoded = run_lengths.frPyObjects(shape, height, width) if isinstance(shape["counts"], list) else shape
    return run_lengths.decode(encoded).astype(bool)
