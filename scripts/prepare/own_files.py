"""Puts the user's photos, masks and saliency maps into a dataset's folder, as links where nothing must be changed."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.prepare.own_data import Photo
from scripts.prepare.photo_names import relative
from utils.data import catalog
from utils.data.check import ImageFiles, ImageReport
from utils.data.images import open_header, read_gray, read_label, write_image, write_label_png
from utils.data.names_table import SOURCES_FILE
from utils.data.photos import plain_suffix, write_plain
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors, remove_file
from utils.files.linking import link_all
from utils.files.parallel import parallel_map

COLUMNS = ("name", "file", "tags", "image", "digest", "changes")


@dataclass(frozen=True)
class Item:
    """A photo and its other files."""

    photo: Photo
    files: ImageFiles


@dataclass(frozen=True)
class Placing:
    """The dataset's folder, and how files are put there. max_side: 0 keeps the photos' size."""

    out: Path
    photos: Path
    copy: bool
    max_side: int
    num_workers: int


def place_items(placing: Placing, items: Sequence[Item], reports: Mapping[str, ImageReport]) -> None:
    """Link, copy or convert every file, and write names.csv. Files of an earlier call that are up to date are kept."""
    before = _recorded(placing.out / SOURCES_FILE)
    rows = {item.photo.name: _row(placing, item, reports[item.photo.name]) for item in items}
    kept = {name for name, row in rows.items() if before.get(name) == row}
    images = placing.out / catalog.IMAGE_FOLDER
    current = {row["image"] for row in rows.values()}
    for name, row in before.items():  # removed photos, and photos that were converted differently
        if row["image"] and (row["image"] not in current or name not in kept):
            remove_file(images / row["image"])
    links, converted = {}, []
    for item in items:
        row = rows[item.photo.name]
        target = images / row["image"]
        if not row["changes"]:
            links[target] = item.files.image
        elif item.photo.name not in kept or not target.is_file():
            converted.append((item.files.image, target))
    maps = _maps(placing, items)
    links |= {target: source for source, target in maps if not placing.max_side}
    link_all(links, copy=placing.copy, num_workers=placing.num_workers, description="linking files")
    write = partial(write_plain_pair, max_side=placing.max_side)
    for _ in parallel_map(write, converted, num_workers=placing.num_workers, description="converting photos"):
        pass
    if placing.max_side:
        resized = [(source, target, images / rows[target.stem]["image"]) for source, target in maps]
        for _ in parallel_map(resize_map, resized, num_workers=placing.num_workers, description="scaling maps"):
            pass
    with (
        atomic_path(placing.out / SOURCES_FILE) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


def _recorded(path: Path) -> dict[str, dict[str, str]]:
    """Read names.csv of an earlier call by photo name; {} if there is none in this format."""
    if not path.is_file():
        return {}
    try:
        with disk_errors(path), path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except csv.Error:  # damaged: everything is done again
        return {}
    if not rows or tuple(rows[0]) != COLUMNS:
        return {}
    return {row["name"]: row for row in rows if Path(row["image"] or "").name == row["image"]}


def _row(placing: Placing, item: Item, report: ImageReport) -> dict[str, str]:
    source = item.files.image
    changes = "; ".join(report.changes)
    if "scaled" in changes:
        changes += f" to {placing.max_side}"
    return {
        "name": item.photo.name,
        "file": relative(source, placing.photos).as_posix(),
        "tags": ";".join(item.photo.tags or ()),
        "image": f"{item.photo.name}{plain_suffix(source, report.changes)}",
        "digest": report.digest,
        "changes": changes,
    }


def _maps(placing: Placing, items: Sequence[Item]) -> list[tuple[Path, Path]]:
    """Return source and target of every saliency map and mask."""
    pairs = []
    for item in items:
        for file, folder in ((item.files.saliency, catalog.SALIENCY_FOLDER), (item.files.mask, catalog.MASK_FOLDER)):
            if file:
                pairs.append((file, placing.out / folder / f"{item.photo.name}{file.suffix.lower()}"))
    return pairs


def write_plain_pair(pair: tuple[Path, Path], *, max_side: int) -> None:
    write_plain(*pair, max_side=max_side)


def resize_map(job: tuple[Path, Path, Path]) -> None:
    """Resize a map to its image in the dataset, masks by nearest neighbour. job: (source, target, image)."""
    source, target, image = job
    size = open_header(image).size
    if target.parent.name == catalog.MASK_FOLDER:
        label = Image.fromarray(read_label(source)).resize(size, Image.Resampling.NEAREST)
        write_label_png(target, np.asarray(label))
    else:
        write_image(target, read_gray(source).resize(size, Image.Resampling.BILINEAR))
