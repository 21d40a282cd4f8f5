"""Masks in VOC's layout, as CVAT, Datumaro and many trainers take them: SegmentationClass/NAME.png, labelmap.txt.

The PNGs hold indices and VOC's palette: readers of indices and of colours find the same labels. No place for scores.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from utils.annotations.regions import IGNORED, AnnotatedPhoto, LabelledPhoto, Shape
from utils.data.catalog import IGNORE_INDEX
from utils.data.images import read_label, write_label_png
from utils.data.label_check import unknown_labels
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.atomic import write_lines
from utils.files.text import read_text

FOLDER, FILE, LIST = "SegmentationClass", "labelmap.txt", Path("ImageSets") / "Segmentation" / "default.txt"


def of_photo(photo: LabelledPhoto, out: Path, classes: Sequence[str]) -> str:
    """Writes the mask of a photo -> its name."""
    label = np.zeros(photo.size, np.uint8)
    for region in photo.regions:
        label[region.mask] = region.label
    write_label_png(out / FOLDER / f"{photo.name}.png", label)
    return photo.name


def finish(out: Path, entries: Sequence[str], classes: Sequence[str]) -> Path:
    write_lines(out / LIST, entries)
    colours = ["# label:color_rgb:parts:actions"]
    colours += [
        f"{name}:{','.join(map(str, PALETTE[number]))}::" for number, name in enumerate(["background", *classes])
    ]
    write_lines(out / FILE, colours)
    return out / FILE


def read(folder: Path) -> list[AnnotatedPhoto]:
    """Every mask of the folder. Raises UserError where a label of labelmap.txt has another colour than its index."""
    names = _names(folder / FILE)
    photos = []
    for path in sorted((folder / FOLDER).rglob("*.png")):
        name = path.relative_to(folder / FOLDER).with_suffix("").as_posix()
        label = read_label(path)
        if unknown := unknown_labels(label, len(names)):
            rule = f"{FILE} names the labels 0 to {len(names) - 1}, and {IGNORE_INDEX} is ignored"
            raise UserError(f"contains {unknown[0]}", path, rule, "export the masks again, or complete it")
        values = [int(value) for value in np.unique(label) if 0 < value < len(names)]
        shapes = tuple(Shape(names[value], partial(draw_label, path, value)) for value in values)
        if (label == IGNORE_INDEX).any():
            shapes = (*shapes, Shape(IGNORED, partial(draw_label, path, IGNORE_INDEX)))
        photos.append(AnnotatedPhoto(name, (label.shape[0], label.shape[1]), shapes, str(path)))
    return photos


def _names(path: Path) -> list[str]:
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    if not 1 < len(lines) <= IGNORE_INDEX:
        raise UserError(f"names {len(lines)} labels", path, f"expected background and 1 to {IGNORE_INDEX - 1} classes")
    for number, line in enumerate(lines):
        colour = ",".join(map(str, PALETTE[number]))
        if line.split(":")[1:2] != [colour]:
            rule = f"expected NAME:{colour}:: in line {number}, background first: masks are read by their indices"
            raise UserError(repr(line), path, rule, "export the masks with VOC's colours, in the order of the classes")
    names = [line.split(":")[0] for line in lines]
    if len(set(names)) < len(names):
        raise UserError("names a label twice", path, "expected each label once")
    return names


def draw_label(path: Path, value: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of the pixels of one label."""
    return read_label(path) == value
