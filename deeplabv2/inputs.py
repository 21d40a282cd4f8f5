"""Inputs of the steps: the dataset, its image lists, and checks that all files exist before the work starts."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deeplabv2.setting_groups import PUBLISHED_NAMES
from deeplabv2.settings import DatasetSettings, find_path
from utils.data.catalog import KNOWN_DATASETS
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import find_image, missing_files
from utils.errors import UserError
from utils.files import locate
from utils.files.locate import DEEPLAB_ROOT
from utils.files.published_places import first_existing, published_labels
from utils.files.text import read_text
from utils.runs.paths import pseudo_label_dir


@dataclass(frozen=True)
class Split:
    """The listed images of a split."""

    list_file: Path
    entries: list[ImageEntry]
    files: dict[str, Path]  # name -> image

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]


@dataclass(frozen=True)
class LabelledSplit(Split):
    """The listed images of a split, with the folder of their labels or masks."""

    label_dir: Path


class Labels(NamedTuple):
    """The labels that a step needs: their folder, their name in messages, and the remedy if they are missing."""

    folder: Path
    kind: str
    remedy: str


def open_data(settings: DatasetSettings) -> Dataset:
    """Open the dataset with the class names in the settings. Raises UserError if N_CLASSES differs."""
    option = "DATASET.ROOT" if settings.ROOT else "DATASET.NAME"
    open_with = partial(open_dataset, settings.folder, option=option, search_dirs=(DEEPLAB_ROOT,))
    try:
        listing = find_path(settings.LABELS, "DATASET.LABELS") if settings.LABELS else None
    except UserError as missing:
        data = _without_listing(open_with, settings, missing)
    else:
        data = open_with(classes=read_class_names(listing)) if listing else _by_name(open_with, settings)
    found = data.num_labels
    if settings.N_CLASSES not in (0, found):
        rule = f"{settings.LABELS or data.root} has {len(data.classes)} classes, {found} with background"
        raise UserError(str(settings.N_CLASSES), "DATASET.N_CLASSES", rule, f"give --DATASET.N_CLASSES={found}")
    return data


def _by_name(open_with: Callable[..., Dataset], settings: DatasetSettings) -> Dataset:
    """Open the dataset with its own classes, else those of a name in published files, such as vocaug."""
    known = PUBLISHED_NAMES.get(settings.NAME)
    try:
        return open_with()
    except UserError:
        if known is None:
            raise
        return open_with(classes=KNOWN_DATASETS[known].classes)


def _without_listing(open_with: Callable[..., Dataset], settings: DatasetSettings, missing: UserError) -> Dataset:
    """Open the dataset without its file of class names. Raises `missing` if they are not known otherwise."""
    try:
        data = _by_name(open_with, settings)
    except UserError:
        raise missing from None
    print(f"{settings.LABELS} (DATASET.LABELS) is missing: using the classes of {data.name}", file=sys.stderr)
    return data


def read_class_names(path: Path) -> list[str]:
    """Read class names, without background, from lines of index and name: `0 background`, `1 aeroplane`, …

    Raises UserError naming the line if the indices are not 0, 1, 2, …
    """
    names = []
    for number, line in enumerate(filter(str.strip, read_text(path).splitlines())):
        index, _, name = line.strip().replace("\t", " ").partition(" ")
        if index != str(number) or not name.strip():
            rule = f"expected `{number} NAME`: indices are 0 for background, 1, 2, …"
            raise UserError(repr(line), path, rule)
        names.append(name.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"lists {names}", path, "expected background and one or more classes, each once")
    return names[1:]


def list_path(data: Dataset, value: str, key: str) -> Path:
    """Resolve an image list: VALUE.txt in the dataset's folder, or a path. Raises UserError if a path is missing."""
    return data.named_list(value, key, search_dirs=(DEEPLAB_ROOT,))


def find_image_dir(settings: DatasetSettings, data: Dataset) -> Path:
    return find_path(settings.IMAGE_DIR, "DATASET.IMAGE_DIR") if settings.IMAGE_DIR else data.image_dir


def find_mask_dir(settings: DatasetSettings, data: Dataset) -> Path:
    return find_path(settings.MASK_DIR, "DATASET.MASK_DIR") if settings.MASK_DIR else data.mask_dir


def training_labels_dir(settings: DatasetSettings, data: Dataset, experiment_id: str) -> Labels:
    """Return the labels to train on; their folder may be missing."""
    kind, remedy = "pseudo labels", "see DATASET.LABEL_DIR"
    if settings.LABEL_DIR is None:
        own, others = pseudo_label_dir(data.name, experiment_id), published_labels(data.name, locate.PROJECT_ROOT)
        also = "".join(f"; also checked: {folder}" for folder in others)
        remedy = f"gen_gt.py --experiment_name {experiment_id} creates them{also}"
        return Labels(first_existing(own, others), kind, remedy)
    try:
        return Labels(find_path(settings.LABEL_DIR, "DATASET.LABEL_DIR"), kind, remedy)
    except UserError:
        return Labels(Path(settings.LABEL_DIR).absolute(), kind, remedy)


def open_split(data: Dataset, list_file: Path, *, image_dir: Path, step: str) -> Split:
    """Return the listed images. Raises one UserError naming everything that is missing and its location."""
    entries, problems = _listed(data, list_file, image_dir)
    _check_complete(problems, step)
    return Split(list_file, entries, _files(entries, image_dir))


def open_labelled_split(
    data: Dataset,
    list_file: Path,
    labels: Labels,
    *,
    image_dir: Path,
    other_problems: Sequence[str] = (),
    step: str,
) -> LabelledSplit:
    """Like open_split, for images that also need labels. other_problems: further problems to report with them."""
    entries, problems = _listed(data, list_file, image_dir)
    missing = missing_files(labels.kind, labels.folder, [entry.name for entry in entries], remedy=labels.remedy)
    _check_complete([*other_problems, *problems, *missing], step)
    return LabelledSplit(list_file, entries, _files(entries, image_dir), labels.folder)


def masked_split(settings: DatasetSettings, data: Dataset, *, step: str) -> LabelledSplit:
    """The images of SPLIT.VAL with their masks, or one error that names all that is missing."""
    masks = Labels(
        find_mask_dir(settings, data),
        "masks",
        "ground truth of the images in SPLIT.VAL; main.py predict needs none",
    )
    return open_labelled_split(
        data,
        list_path(data, settings.SPLIT.VAL, "DATASET.SPLIT.VAL"),
        masks,
        image_dir=find_image_dir(settings, data),
        step=step,
    )


def _listed(data: Dataset, list_file: Path, image_dir: Path) -> tuple[list[ImageEntry], list[str]]:
    """Return the entries of a list, and messages about the missing list or images."""
    problems: list[str] = []
    entries: list[ImageEntry] = []
    try:
        entries = read_image_list(list_file, len(data.classes))
    except UserError as error:
        there = ", ".join(sorted(path.stem for path in list_file.parent.glob("*.txt"))) or "none"
        problems.append(str(error) if list_file.is_file() else f"{error}; existing lists: {there}")
    return entries, problems + missing_files("images", image_dir, [entry.name for entry in entries])


def _check_complete(problems: Sequence[str], step: str) -> None:
    if problems:
        raise UserError(f"{step} cannot start:\n  " + "\n  ".join(problems))


def _files(entries: Sequence[ImageEntry], image_dir: Path) -> dict[str, Path]:
    return {entry.name: find_image(image_dir, entry.name) for entry in entries}
