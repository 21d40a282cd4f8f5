"""Tags and masks of annotation files: what occurs in a photo's annotation, and its shapes as label maps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.prepare.findings import Findings
from scripts.prepare.own_data import Photo
from scripts.prepare.photo_names import PhotoIndex
from scripts.prepare.tag_cells import tidy
from scripts.prepare.tag_table import TagRow
from utils.annotations.formats import find_format, label_map, read_annotations
from utils.annotations.regions import AnnotatedPhoto
from utils.data.class_names import spelling_key
from utils.data.images import open_header, write_label_png
from utils.files.text import first_few


@dataclass(frozen=True)
class DrawnMask:
    """A photo's annotation with the value of each of its labels. name: the photo's in the dataset."""

    name: str
    annotated: AnnotatedPhoto
    values: dict[str, int]


def rows_of(path: Path, findings: Findings) -> list[TagRow]:
    """A row per annotated photo; those without a shape are negatives, which is said."""
    photos = read_annotations(path)
    empty = [photo.file for photo in photos if not photo.labels]
    findings.note(f"{path.name}: read as {find_format(path)}: {len(photos)} annotated photos")
    if empty:
        findings.note(
            f"{path.name}: {len(empty)} photos are annotated as empty: they are negatives ({first_few(empty)})"
        )
    return [TagRow(photo.where, photo.file, tuple(map(tidy, photo.labels))) for photo in photos]


def masks_of(
    path: Path, photos: Sequence[Photo], folder: Path, classes: Sequence[str], findings: Findings
) -> list[DrawnMask]:
    """The annotations of --masks, joined with the photos by their paths; problems are added to the findings."""
    index = PhotoIndex([photo.file for photo in photos], folder)
    by_file = {photo.file: photo for photo in photos}
    value_of = {spelling_key(name): number for number, name in enumerate(classes, start=1)}
    found: dict[Path, DrawnMask] = {}
    extents: Counter[str] = Counter()
    unused = []
    for annotated in read_annotations(path):
        files = index.find(annotated.file)
        if len(files) != 1 or by_file[files[0]].tags is None:
            unused.append(annotated.file)
            continue
        strange = [label for label in annotated.labels if spelling_key(label) not in value_of]
        if strange:
            kind = "labels of --masks are no tags (give --classes that has them, or correct them)"
            findings.wrong(kind, *(f"{label!r} in {annotated.where}" for label in strange))
        elif files[0] in found:
            findings.wrong("photos have several annotations in --masks", annotated.where)
        else:
            extents.update(shape.extent for shape in annotated.shapes)
            values = {label: value_of[spelling_key(label)] for label in annotated.labels}
            found[files[0]] = DrawnMask(by_file[files[0]].name, annotated, values)
    findings.notes += extent_notes(path, extents)
    if unused:
        findings.note(f"left out: {len(unused)} annotations of --masks name no tagged photo ({first_few(unused)})")
    if not found:
        findings.wrong(f"--masks: no annotation names a photo ({path})")
    return list(found.values())


def extent_notes(path: Path, extents: Mapping[str, int]) -> list[str]:
    """Lines for shapes that are no outlines of objects. extents: Shape.extent -> number of shapes."""
    texts = {
        "box": "boxes: all of their pixels count as the object",
        "none": "tags, points or lines: their objects are missing in the masks",
    }
    return [f"WARNING: {path.name}: {extents[key]} shapes are {text}" for key, text in texts.items() if extents[key]]


def size_problems(masks: Sequence[DrawnMask], sizes: Mapping[str, tuple[int, int] | None]) -> list[str]:
    """A line for annotations of another size than their upright photo's; sizes: name -> width and height."""
    wrong = []
    for mask in masks:
        stated, size = mask.annotated.size, sizes[mask.name]
        if stated and size and stated != size[::-1]:
            wrong.append(f"{mask.annotated.where} ({stated[1]}x{stated[0]}, the photo is {size[0]}x{size[1]})")
    return [f"{len(wrong)} annotations of another size than their photo: {first_few(wrong, 10)}"] if wrong else []


def draw(job: tuple[DrawnMask, tuple[int, int], Path, Path]) -> None:
    """Writes a mask at the size of its image in the dataset; job: the mask, the photo's width and height, the image in
    the dataset, the file to write.
    """
    mask, (width, height), image, target = job
    label = label_map(mask.annotated, mask.values, (height, width))
    size = open_header(image).size
    if size != (width, height):
        label = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    write_label_png(target, label)
