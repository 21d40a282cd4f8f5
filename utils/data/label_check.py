"""Checks every training label before hours of training: size, values, class frequencies, and unintended labels."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from utils.data.catalog import IGNORE_INDEX
from utils.data.images import are_few, decode, open_complete, read_label
from utils.errors import UserError
from utils.files.parallel import parallel_map
from utils.files.text import first_few

BORDERED = 20  # as in VOC's masks: ignored pixels that touch an object, per pixel where object and background touch
SHOWN = 10  # faulty files that an error names
MADE_HERE = "label_settings.json"  # written by gen_gt.py beside its labels


@dataclass(frozen=True)
class LabelReport:
    """The content of one label. counts: (256,) pixels per value.

    unreadable: the file that cannot be decoded, label or image, and the reason. misfit: how the label differs from its
    image or its classes.
    """

    counts: np.ndarray
    is_bordered: bool = False
    is_mask: bool = False
    checksum: int = 0
    unreadable: str | None = None
    misfit: str | None = None

    @property
    def has_object(self) -> bool:
        return bool(self.counts[1:IGNORE_INDEX].any())


@dataclass(frozen=True)
class LabelSummary:
    """Summary of all labels. counts: (256,) pixels per value. warnings: what looks wrong. digest: of all labels.

    with_one_class: names of the labels with the pixels of one class beside background.
    """

    counts: np.ndarray
    warnings: tuple[str, ...]
    digest: str
    with_one_class: tuple[str, ...]

    def shares(self, classes: Sequence[str]) -> str:
        """Return lines with each class's fraction of the labelled pixels, and the ignored fraction of all pixels."""
        labelled = max(1, int(self.counts[:IGNORE_INDEX].sum()))
        lines = [
            f"  {name:<16} {self.counts[index] / labelled:.2%}" for index, name in enumerate(("background", *classes))
        ]
        return "\n".join([*lines, f"  {'(ignored)':<16} {self.counts[IGNORE_INDEX] / max(1, self.counts.sum()):.2%}"])


def check_labels(
    names: Sequence[str],
    files: Mapping[str, Path],
    label_dir: Path,
    *,
    mask_dir: Path | None,
    num_labels: int,
    num_workers: int = 0,
) -> LabelSummary:
    """Check the label of every named image, in num_workers processes (0: one per core).

    files: name -> image path. mask_dir: ground truth, if available, to warn if it is used as training labels.
    Raises UserError with number and names of images and labels that cannot be read, and of labels that differ in size
    from their image or have invalid values.
    """
    whole = are_few([files[name] for name in names])
    look = partial(inspect_label, label_dir=label_dir, mask_dir=mask_dir, num_labels=num_labels, whole=whole)
    items = [(name, files[name]) for name in names]
    reports = list(parallel_map(look, items, num_workers=num_workers, description="checking labels"))
    _raise_faults(reports, label_dir, num_labels)
    digest = hashlib.blake2b(digest_size=8)
    for name, report in zip(names, reports):
        digest.update(f"{name} {report.checksum}\n".encode())
    counts = np.sum([report.counts for report in reports], axis=0)
    if not (label_dir / MADE_HERE).is_file():  # labels of gen_gt.py may have an ignore band and contain no object
        kinds = MaskKinds()
        for report in reports:
            kinds.add((report.has_object, bool(report.counts[IGNORE_INDEX])))
        kinds.check(label_dir)
    with_one_class = tuple(
        name for name, report in zip(names, reports) if np.count_nonzero(report.counts[1:IGNORE_INDEX]) == 1
    )
    return LabelSummary(counts, _warnings(reports, label_dir), digest.hexdigest(), with_one_class)


def inspect_label(
    item: tuple[str, Path], *, label_dir: Path, mask_dir: Path | None, num_labels: int, whole: bool = False
) -> LabelReport:
    """Check one image's label. item: (name, image path). whole: decode the image instead of reading its ends."""
    name, image_file = item
    path = label_dir / f"{name}.png"
    try:
        label = read_label(path)
        width, height = (decode if whole else open_complete)(image_file).size
    except UserError as error:
        return LabelReport(np.zeros(256, np.int64), unreadable=f"{error.where}: {error.what}")
    counts = np.bincount(label.ravel(), minlength=256)
    misfit = None
    if label.shape != (height, width):
        misfit = f"{path.name} is {label.shape[1]}x{label.shape[0]}, its image {width}x{height}"
    elif unknown := unknown_labels(label, num_labels):
        misfit = (
            f"{path.name} contains {unknown[0]}: expected 0 to {num_labels - 1}, or {IGNORE_INDEX} for ignored pixels"
        )
    is_mask, checksum = _is_mask(label, name, mask_dir), zlib.crc32(label.tobytes())
    return LabelReport(counts, is_bordered(label), is_mask, checksum, misfit=misfit)


def _raise_faults(reports: Sequence[LabelReport], label_dir: Path, num_labels: int) -> None:
    """Raise one UserError with a line per kind of fault, if there are any."""
    unreadable = [report.unreadable for report in reports if report.unreadable]
    misfits = [report.misfit for report in reports if report.misfit]
    lines = []
    if unreadable:
        lines.append(
            f"{len(unreadable)} of {len(reports)} images and their labels cannot be read: replace the files, or remove "
            f"the names from the list: {first_few(unreadable, SHOWN)}"
        )
    if misfits:
        lines.append(
            f"{len(misfits)} of {len(reports)} labels in {label_dir} do not match their images or DATASET.N_CLASSES="
            f"{num_labels}: create them again, or check DATASET.LABEL_DIR: {first_few(misfits, SHOWN)}"
        )
    if lines:
        raise UserError("training cannot start:\n  " + "\n  ".join(lines))


def unknown_labels(label: np.ndarray, num_labels: int) -> list[int]:
    """Return the values of a label map (H, W) uint8 that are neither in 0..num_labels - 1 nor ignored."""
    counts = np.bincount(label.ravel(), minlength=256)
    return (num_labels + np.flatnonzero(counts[num_labels:IGNORE_INDEX])).tolist()


class MaskKinds:
    """Tracks whether any mask of a set contains an object. If all contain only 0 and 255, scores are meaningless."""

    def __init__(self) -> None:
        self.with_objects = self.with_ignored = 0

    def add(self, kind: Sequence[int]) -> None:
        """Add the result of kind_of_mask for one mask, or the sums (with_objects, with_ignored) over several."""
        self.with_objects += kind[0]
        self.with_ignored += kind[1]

    @property
    def sums(self) -> list[int]:
        return [self.with_objects, self.with_ignored]

    @classmethod
    def joined(cls, parts: Iterable[Sequence[int]]) -> Self:
        """Return the kinds of the masks that several processes counted, from the `sums` of each."""
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole

    def check(self, folder: Path) -> None:
        """Raise UserError if no mask contains an object and some contain ignored pixels."""
        if self.with_ignored and not self.with_objects:
            raise UserError(
                f"no mask contains an object, and {self.with_ignored} contain {IGNORE_INDEX}",
                folder,
                f"expected 0 for background and 1, 2, … for the classes; pixels of {IGNORE_INDEX} are ignored",
                "if 255 means object, save it as 1",
            )


def kind_of_mask(mask: np.ndarray) -> tuple[bool, bool]:
    """Return whether a mask (H, W) uint8 contains an object, and whether it contains ignored pixels."""
    counts = np.bincount(mask.ravel(), minlength=256)
    return bool(counts[1:IGNORE_INDEX].any()), bool(counts[IGNORE_INDEX])


def is_bordered(label: np.ndarray) -> bool:
    """Return whether a border of ignored pixels surrounds the objects, as in VOC's masks. label (H, W) uint8."""
    direct = bordered = 0
    for one, other in ((label[1:], label[:-1]), (label[:, 1:], label[:, :-1])):
        is_object = [(side != 0) & (side != IGNORE_INDEX) for side in (one, other)]
        ignored = [side == IGNORE_INDEX for side in (one, other)]
        bordered += int(np.count_nonzero((is_object[0] & ignored[1]) | (is_object[1] & ignored[0])))
        direct += int(np.count_nonzero((is_object[0] & (other == 0)) | (is_object[1] & (one == 0))))
    return bordered > BORDERED * direct


def _is_mask(label: np.ndarray, name: str, mask_dir: Path | None) -> bool:
    path = mask_dir / f"{name}.png" if mask_dir else None
    return path is not None and path.is_file() and np.array_equal(label, read_label(path))


def _warnings(reports: Sequence[LabelReport], label_dir: Path) -> tuple[str, ...]:
    objects = [report for report in reports if report.has_object]
    if not objects:
        return (
            f"WARNING: all {len(reports)} labels in {label_dir} are background: a network trained on them predicts "
            "only background. Were they made with too high a threshold?",
        )
    warnings = []
    same = sum(report.is_mask for report in objects)
    bordered = sum(report.is_bordered for report in objects)
    if same > len(objects) / 10:
        warnings.append(f"{same} of {len(objects)} labels with objects equal the ground truth")
    # labels of gen_gt.py may have an ignore band of their own
    if bordered > len(objects) / 2 and not (label_dir / MADE_HERE).is_file():
        warnings.append(f"{bordered} of {len(objects)} have ignored pixels around objects, like VOC's masks")
    return tuple(f"WARNING: {label_dir}: {text}: are these pseudo labels?" for text in warnings)
