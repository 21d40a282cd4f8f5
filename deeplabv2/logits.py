"""A network's output for an image on disk, NAME.npz: logits in half precision at the network's resolution.

labels (K,) uint8: those that may be STORED_RATIO times as probable as the strongest one at some pixel
logits (K, h, w) float16
size   (2,) int32: height and width of the image, pixels
"""

import math
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from utils.data.image_list import ImageEntry
from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors
from utils.files.manifest import RECORD, FolderSettings
from utils.files.npz_header import stored_shape
from utils.files.sources import digest_of, to_do

# labels below it win nowhere, before or after the CRF
STORED_RATIO = 0.01
MOST_ENTRIES = 1 << 30  # of an array: a larger one is damaged and would fill the memory
REMEDY = "delete it and run the command again"


@dataclass(frozen=True)
class StoredLogits:
    """labels (K,) uint8, logits (K, h, w) float16, size (H, W) of the image in pixels."""

    labels: np.ndarray
    logits: np.ndarray
    size: tuple[int, int]

    def probabilities(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return probabilities (K, H, W) float32 at `size`, default the image's: bilinear, softmax, as published."""
        large = enlarged(self.logits, size or self.size)
        large -= large.max(axis=0)
        np.exp(large, out=large)
        large /= large.sum(axis=0)
        return large

    def label(self) -> np.ndarray:
        """Return each pixel's strongest label, (H, W) uint8."""
        return self.labels[strongest(self.logits, self.size)]


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (K, h, w) to (K, H, W) float32 bilinearly."""
    large = np.empty((len(maps), *size), np.float32)
    for source, target in zip(maps, large):
        cv2.resize(source.astype(np.float32), size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return large


def strongest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (K, h, w) and return the index of the strongest at each pixel, (H, W) uint8, the first on ties.

    They are resized one by one, since all maps of a phone's photograph would need gigabytes at once.
    """
    value = enlarged(maps[:1], size)[0]
    label = np.zeros(size, np.uint8)
    for index in range(1, len(maps)):
        other = enlarged(maps[index : index + 1], size)[0]
        label[other > value] = index
        np.maximum(value, other, out=value)
    return label


def reduce_logits(logits: np.ndarray, size: tuple[int, int]) -> StoredLogits:
    """What is stored of an image's logits (L, h, w); size (H, W) in pixels.

    Raises UserError if a logit is not finite in half precision.
    """
    with np.errstate(over="ignore"):  # what overflows is refused below
        logits = logits.astype(np.float16)
    if not np.isfinite(logits).all():
        raise UserError(
            "the network's logits are not finite", remedy="give --SOLVER.AMP=off, or check the network's training"
        )
    labels = _labels_to_store(logits.astype(np.float32))
    return StoredLogits(labels.astype(np.uint8), logits[labels], size)


def _labels_to_store(logits: np.ndarray) -> np.ndarray:
    """Labels (K,) of logits (L, h, w) that may come within STORED_RATIO of the strongest one, however enlarged.

    A bilinear value is between the minimum and the maximum of its four neighbours. A label's lead over the strongest
    one is therefore at most its maximum minus the largest of all labels' minima, which needs no resizing.
    """
    lead = (_of_neighbours(np.maximum, logits) - _of_neighbours(np.minimum, logits).max(axis=0)).max(axis=(1, 2))
    return np.flatnonzero(lead >= math.log(STORED_RATIO))


def _of_neighbours(extreme: np.ufunc, maps: np.ndarray) -> np.ndarray:
    """The largest or the least of each four neighbouring values: (L, h, w) -> (L, h - 1, w - 1), at least one each."""
    for axis in (1, 2):
        if maps.shape[axis] > 1:
            first, last = ([slice(None)] * axis + [cut] for cut in (slice(-1), slice(1, None)))
            maps = extreme(maps[tuple(first)], maps[tuple(last)])
    return maps


def logits_record(folder: Path, option: str = "--EXP.ID") -> FolderSettings:
    """What the logits of a folder were made with; option: what names the folder."""
    return FolderSettings(folder / RECORD, "*.npz", "logits", "main.py", option)


def start_record(folder: Path, made_with: dict[str, Any], *, may_replace: bool, option: str) -> None:
    """Record what the logits of a folder are made with, and remove those of other weights or settings.

    Raises UserError if there are any and may_replace is false. option: what names the folder.
    """
    record = logits_record(folder, option)
    record.check(made_with, may_replace=may_replace)
    removed = record.start(made_with)
    if removed:
        print(f"{folder}: {removed} logits of other weights or settings are replaced", file=sys.stderr)


class Missing(Protocol):
    """The images whose logits a folder lacks, and the network that computes them."""

    def compute(self, then: Callable[[str], None] | None = None) -> object:
        """Write the logits, distributed over the processes, and wait for all of them.

        then: called with the name of each image whose logits this process has written, in a thread beside the network.
        """


def missing_logits(entries: Sequence[ImageEntry], files: Mapping[str, Path], folder: Path) -> list[ImageEntry]:
    """Return the images without logits of their present file. files: name -> image."""
    return to_do(entries, lambda entry: (folder / f"{entry.name}.npz", files[entry.name]))


def write_logits(path: Path, stored: StoredLogits, *, made_from: str = "") -> None:
    """Write the file atomically. made_from: digest of the image, see utils.files.sources."""
    with atomic_path(path, made_from=made_from) as temporary:
        np.savez(temporary, labels=stored.labels, logits=stored.logits, size=np.array(stored.size, np.int32))


def finish_logits(
    name: str,
    logits: np.ndarray,
    size: tuple[int, int],
    files: Mapping[str, Path],
    folder: Path,
    then: Callable[[str], None] | None,
) -> None:
    """Write logits (L, h, w) of an image, whose size is (H, W), to folder/NAME.npz, then call then(name).

    files: name -> image. Raises UserError as reduce_logits does.
    """
    file = files[name]
    try:
        stored = reduce_logits(logits, size)
    except UserError as error:
        raise error.at(file) from error
    write_logits(folder / f"{name}.npz", stored, made_from=digest_of(file))
    if then is not None:
        then(name)


def read_logits(path: Path) -> StoredLogits:
    """Read a file of write_logits. Raises UserError if it is missing, damaged or not a file of logits."""
    try:
        with disk_errors(path), path.open("rb") as file:
            shapes = {name: stored_shape(file, name) for name in ("labels", "logits", "size")}
        if any(math.prod(shape) > MOST_ENTRIES for shape in shapes.values()):
            raise ValueError(f"arrays of {shapes}")
        with disk_errors(path), np.load(path, allow_pickle=False) as arrays:
            labels, logits, size = arrays["labels"], arrays["logits"], arrays["size"]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"cannot be read as logits ({error})", path, remedy=REMEDY) from error
    numbers = labels.dtype == np.uint8 and logits.dtype == np.float16 and np.issubdtype(size.dtype, np.integer)
    if not numbers or logits.ndim != 3 or labels.shape != logits.shape[:1] or size.shape != (2,):
        raise UserError(f"{labels.shape} labels, {logits.shape} logits", path, remedy=REMEDY)
    return StoredLogits(labels, logits, (int(size[0]), int(size[1])))
