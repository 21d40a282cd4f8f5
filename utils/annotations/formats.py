"""Which format an annotation file or folder has, its photos, and their label maps."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from utils.annotations.regions import IGNORED, AnnotatedPhoto
from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError

# format -> its module
MODULES = {"coco": "coco", "labelme": "labelme", "yolo": "yolo", "cvat": "cvat", "masks": "voc_masks"}


def module_of(form: str) -> ModuleType:
    """What writes and reads a format."""
    return importlib.import_module(f"utils.annotations.{MODULES[form]}")


def find_format(path: Path) -> str | None:
    """The format of a file or folder of annotations, by its name or by what the folder holds; None if it is none."""
    if path.is_file():
        return {".json": "coco", ".xml": "cvat"}.get(path.suffix.lower())
    if (path / "data.yaml").is_file() and (path / "labels").is_dir():
        return "yolo"
    if (path / "labelmap.txt").is_file() and (path / "SegmentationClass").is_dir():
        return "masks"
    return "labelme" if any(module_of("labelme").is_one(file) for file in path.rglob("*.json")) else None


def read_annotations(path: Path) -> list[AnnotatedPhoto]:
    """Every photo of a file or folder of annotations. Raises UserError where its format is none that is read."""
    form = find_format(path)
    if form is None:
        rule = "COCO's .json, CVAT's .xml, or a folder of labelme, Ultralytics or masks with labelmap.txt"
        raise UserError("holds no annotations of a known format", path, rule)
    photos = module_of(form).read(path)
    if not photos:
        raise UserError("holds no annotated photo", path, f"it was read as {form}")
    return photos


def label_map(photo: AnnotatedPhoto, values: Mapping[str, int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: 0, the value of each shape's label, 255 where pixels are ignored; the later shapes on top.

    values: label -> value; size: (H, W).
    """
    label = np.zeros(size, np.uint8)
    for shape in photo.shapes:
        label[shape.draw(size)] = IGNORE_INDEX if shape.label == IGNORED else values[shape.label]
    return label
