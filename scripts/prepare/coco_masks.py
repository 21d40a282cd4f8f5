"""Converts COCO's instance annotations to tags and label maps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from utils.data.catalog import COCO_CLASSES, IGNORE_INDEX
from utils.data.run_lengths import checked_segmentation, draw_segmentation
from utils.errors import UserError
from utils.files.disk import disk_errors
from utils.files.text import first_few


@dataclass(frozen=True)
class Instance:
    """One annotated object. tag: zero-based; area: in pixels; shape: polygons or run lengths, as in the file."""

    tag: int
    is_crowd: bool
    area: float
    shape: Any


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its size in pixels and at least one instance."""

    name: str
    file_name: str
    height: int
    width: int
    instances: tuple[Instance, ...]

    @property
    def tags(self) -> tuple[int, ...]:
        return tuple(sorted({instance.tag for instance in self.instances}))


def read_instances(path: Path) -> list[AnnotatedImage]:
    """Read the annotated images, sorted by id. Raises UserError if it is not an instance file of COCO's 80 classes.

    A missing iscrowd counts as 0, a missing area is that of the shape. The error states the number of faults and the
    first few.
    """
    try:
        with disk_errors(path):
            coco = COCO(str(path))
        categories = [coco.cats[number]["name"] for number in sorted(coco.cats)]
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        what = f"is not a file of instance annotations ({type(error).__name__}: {error})"
        raise UserError(what, path, remedy="unpack it again") from error
    if tuple(categories) != COCO_CLASSES:
        strange = sorted(set(categories) ^ set(COCO_CLASSES)) or "their order"
        raise UserError(f"{len(categories)} classes (differing: {strange})", path, "expected COCO's 80")
    tag_of = {number: tag for tag, number in enumerate(sorted(coco.cats))}
    images, problems = [], []
    for number in sorted(coco.imgToAnns):
        try:
            images.append(_annotated(coco.imgs.get(number), number, coco.imgToAnns[number], tag_of))
        except _WrongAnnotationError as error:
            problems.append(str(error))
    problems += _problems_of_names(images, [image["id"] for image in coco.dataset["images"] if "id" in image])
    if not images and not problems:
        problems.append("no image has annotations")
    if problems:
        raise UserError(f"{len(problems)} faults: {first_few(problems, 5)}", path, remedy="fix it, or unpack it again")
    return images


class _WrongAnnotationError(Exception):
    """A fault of an annotation or its image, with their ids."""


def _problems_of_names(images: Sequence[AnnotatedImage], ids: Sequence[int]) -> list[str]:
    """Return why images cannot be listed: names with spaces, repeated names, repeated ids."""
    names, twice = Counter(image.name for image in images), Counter(ids)
    problems = [f"the name {image.file_name!r} contains a space" for image in images if len(image.name.split()) != 1]
    problems += [f"{count} images are named {name!r}" for name, count in names.items() if count > 1]
    return problems + [f"{count} images have the id {number}" for number, count in twice.items() if count > 1]


def _annotated(
    image: dict[str, Any] | None, number: int, annotations: Sequence[dict[str, Any]], tag_of: dict[int, int]
) -> AnnotatedImage:
    if image is None:
        raise _WrongAnnotationError(f"annotations of image {number}, which is not among the images")
    if missing := [key for key in ("file_name", "height", "width") if key not in image]:
        raise _WrongAnnotationError(f"image {number} has no {missing[0]}")
    try:
        name, height, width = Path(image["file_name"]), int(image["height"]), int(image["width"])
    except (TypeError, ValueError, OverflowError) as error:
        raise _WrongAnnotationError(f"image {number}: {error}") from error
    if height < 1 or width < 1:
        raise _WrongAnnotationError(f"image {number} is {width}x{height}")
    instances = tuple(_instance(a, height, width, tag_of) for a in annotations)
    return AnnotatedImage(name.stem, name.name, height, width, instances)


def _instance(annotation: dict[str, Any], height: int, width: int, tag_of: dict[int, int]) -> Instance:
    where = f"annotation {annotation.get('id')} of image {annotation.get('image_id')}"
    if missing := [key for key in ("category_id", "segmentation") if key not in annotation]:
        raise _WrongAnnotationError(f"{where} has no {missing[0]}")
    if annotation["category_id"] not in tag_of:
        raise _WrongAnnotationError(f"{where} has the category {annotation['category_id']}, which is not listed")
    try:
        compact = checked_segmentation(annotation["segmentation"], height, width)
        area = annotation.get("area")
        area = float(draw_segmentation(compact, height, width).sum() if area is None else area)
        is_crowd = bool(annotation.get("iscrowd", 0))
    except (TypeError, ValueError, KeyError) as error:
        raise _WrongAnnotationError(f"{where}: {error}") from error
    return Instance(tag_of[annotation["category_id"]], is_crowd, area, compact)


def label_map(image: AnnotatedImage, *, crowd: str) -> np.ndarray:
    """Draw the label map (H, W) uint8: tag + 1 per instance, smaller over larger ones, crowd regions below all.

    crowd: `class` gives crowd regions their class, `ignore` 255.
    """
    label = np.zeros((image.height, image.width), np.uint8)
    for instance in sorted(image.instances, key=lambda i: (not i.is_crowd, -i.area)):
        value = IGNORE_INDEX if instance.is_crowd and crowd == "ignore" else instance.tag + 1
        label[draw_segmentation(instance.shape, image.height, image.width)] = value
    return label
