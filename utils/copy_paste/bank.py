"""The foreground bank, from which copy-paste augmentation takes its objects, and its format.

    CLASS/NAME.png       RGBA, an object cropped to its box; alpha is 255 on the object and 0 elsewhere
    CLASS/NAME_sal.png   its saliency, 8-bit grey, of the same size
    index.csv            one line per foreground, written last: a bank without it is unfinished
    bank_settings.json   what it was made from, and how

Context decoupling augmentation (CDA): Su et al., ICCV 2021, sec. 3.2.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from utils.data.images import read_gray, read_rgba, write_image
from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors
from utils.files.text import first_few, read_text

INDEX_FILE = "index.csv"
SETTINGS_FILE = "bank_settings.json"
SALIENCY_SUFFIX = "_sal"
HEADER = ("file", "class", "source", "width", "height", "area", "agreement")
PUBLISHED_LISTING = "seg_fg_dirs.npy"  # in a bank of the published format
SALIENT = 200  # of 255; only pixels above it are pasted (published implementation of CDA)
REMEDY = "run scripts/build_foregrounds.py"
COMPRESS_LEVEL = 1  # takes a fifth of the default level's time for 1 % more bytes (VOC photographs)


@dataclass(frozen=True, eq=False)
class Foreground:
    """An object in its box: image (h, w, 3) uint8 RGB, mask (h, w) bool, saliency (h, w) uint8, zero-based tag."""

    image: np.ndarray
    mask: np.ndarray
    saliency: np.ndarray
    tag: int
    source: str  # name of the image it was cut from

    def __post_init__(self) -> None:
        size = self.mask.shape
        given = [(array.shape, str(array.dtype)) for array in (self.image, self.mask, self.saliency)]
        if given != [((*size, 3), "uint8"), (size, "bool"), (size, "uint8")]:
            raise ValueError(
                f"{self.source}: image, mask and saliency are {given}: expected (h, w, 3) uint8, (h, w) bool "
                "and (h, w) uint8"
            )
        if not self.mask.any():
            raise UserError("the mask is empty", self.source, "a foreground needs an object")


@dataclass(frozen=True)
class BankEntry:
    """A line of the index. Sizes of the box in pixels. agreement: IoU of mask and salient pixels, 0..1."""

    file: str  # CLASS/NAME.png in the bank's folder
    class_name: str
    source: str
    width: int
    height: int
    area: int  # of the object in pixels
    agreement: float


def foreground_file(class_name: str, source: str) -> str:
    """Return a foreground's path in its bank. Raises UserError for names that cannot be folders or files."""
    if not class_name or class_name in (".", "..") or "/" in class_name or "\\" in class_name:
        raise UserError(f"class {class_name!r} cannot be a folder name in the bank", remedy="rename it in classes.txt")
    if source.endswith(SALIENCY_SUFFIX):
        rule = f"in the bank, names ending in {SALIENCY_SUFFIX} are saliency maps"
        raise UserError(f"image {source!r}", rule=rule, remedy="rename the image")
    return f"{class_name}/{source}.png"


def saliency_file(file: str) -> str:
    """Return the path of the saliency map of the foreground CLASS/NAME.png."""
    return f"{file.removesuffix('.png')}{SALIENCY_SUFFIX}.png"


def entry_of(foreground: Foreground, class_name: str, *, agreement: float) -> BankEntry:
    """Return a foreground's line of the index."""
    height, width = foreground.mask.shape
    file = foreground_file(class_name, foreground.source)
    return BankEntry(file, class_name, foreground.source, width, height, int(foreground.mask.sum()), agreement)


def write_foreground(
    folder: Path, foreground: Foreground, class_name: str, *, agreement: float, made_from: str = ""
) -> BankEntry:
    """Write the two PNGs of a foreground, the RGBA file last. Returns its line of the index.

    made_from: digest of its sources, see utils.files.sources.
    """
    entry = entry_of(foreground, class_name, agreement=agreement)
    alpha = foreground.mask.astype(np.uint8)[..., None] * 255
    pixels = np.concatenate([foreground.image, alpha], axis=2)
    for file, image in ((saliency_file(entry.file), foreground.saliency), (entry.file, pixels)):
        write_image(folder / file, image, compress_level=COMPRESS_LEVEL, made_from=made_from)
    return entry


def read_foreground(folder: Path, entry: BankEntry, tag: int) -> Foreground:
    """Read a foreground. Raises UserError naming a missing or inconsistent file."""
    path = folder / entry.file
    pixels, saliency = read_rgba(path), np.asarray(read_gray(folder / saliency_file(entry.file)))
    if pixels.shape[:2] != (entry.height, entry.width) or saliency.shape != pixels.shape[:2]:
        found = f"is {pixels.shape[1]}x{pixels.shape[0]}, its saliency {saliency.shape[1]}x{saliency.shape[0]}"
        raise UserError(found, path, f"the index states {entry.width}x{entry.height}", f"{REMEDY} --overwrite")
    return Foreground(np.ascontiguousarray(pixels[..., :3]), pixels[..., 3] > 127, saliency, tag, entry.source)


def write_index(folder: Path, entries: Iterable[BankEntry]) -> Path:
    """Write the index, which marks the bank as complete."""
    path = folder / INDEX_FILE
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for entry in entries:
            writer.writerow([*astuple(entry)[:-1], f"{entry.agreement:.4f}"])
    return path


def read_index(folder: Path) -> list[BankEntry]:
    """Read the index. Raises UserError if the bank is unfinished, or naming the invalid line."""
    path = folder / INDEX_FILE
    if not path.is_file():
        what = "is an unfinished foreground bank" if folder.is_dir() else "is not a foreground bank"
        raise UserError(f"{what}, without {INDEX_FILE}", folder, remedy=_remedy_without(folder))
    rows = csv.reader(read_text(path).splitlines())
    header = tuple(next(rows, ()))
    if header != HEADER:
        raise UserError(f"the columns are {', '.join(header)}", f"{path}:1", f"expected {', '.join(HEADER)}", REMEDY)
    return [_entry(row, f"{path}:{rows.line_num}") for row in rows if row]


def _remedy_without(folder: Path) -> str:
    """Return the remedy for a missing bank: import the published one if it is in this folder or its parent."""
    for place in (folder, folder.parent):
        if (place / PUBLISHED_LISTING).is_file():
            return f"{REMEDY} --published={place} --experiment_name={folder.name} (a published bank is in {place})"
    return f"{REMEDY}, or put the published bank into {folder.parent} ({PUBLISHED_LISTING}) and import it"


def _entry(row: list[str], where: str) -> BankEntry:
    if len(row) != len(HEADER):
        raise UserError(f"{len(row)} columns", where, f"expected {len(HEADER)}", REMEDY)
    file, class_name, source, *numbers = row
    try:
        width, height, area = map(int, numbers[:3])
        agreement = float(numbers[3])
    except ValueError:
        raise UserError(f"{', '.join(numbers)} are not {', '.join(HEADER[3:])}", where, remedy=REMEDY) from None
    # a file must be in its class's folder: a foreign index must not lead out of the bank
    if file != foreground_file(class_name, PurePosixPath(file).stem):
        raise UserError(f"{file} is not a PNG in the folder {class_name}", where, remedy=REMEDY)
    return BankEntry(file, class_name, source, width, height, area, agreement)


class ForegroundBank:
    """The foregrounds of a bank by class. Keeps only the index in memory, so that it is cheap to send to workers."""

    def __init__(self, folder: Path, classes: Sequence[str], entries: Sequence[BankEntry]) -> None:
        self.folder, self.classes = folder, tuple(classes)
        groups: dict[int, list[BankEntry]] = {tag: [] for tag in range(len(self.classes))}
        for entry in entries:
            groups[self.classes.index(entry.class_name)].append(entry)
        self._entries = {tag: tuple(group) for tag, group in groups.items() if group}

    @classmethod
    def open(cls, folder: Path, classes: Sequence[str]) -> "ForegroundBank":
        """Open a bank for a dataset with these classes, in tag order. Reads the index, not the images.

        Raises UserError if there is no finished bank, or if it is empty, has other classes, or files are missing.
        """
        entries = read_index(folder)
        if not entries:
            raise UserError("lists no foregrounds", folder / INDEX_FILE, remedy=f"{REMEDY} with a lower --min_area")
        unknown = sorted({entry.class_name for entry in entries} - set(classes))
        if unknown:
            raise UserError(
                f"{', '.join(unknown)} are not classes of the dataset",
                folder / INDEX_FILE,
                f"expected one of {', '.join(classes)}",
                "give this dataset's bank with --cda_bank",
            )
        _check_files(folder, entries)
        return cls(folder, classes, entries)

    def __len__(self) -> int:
        return sum(len(group) for group in self._entries.values())

    @property
    def tags(self) -> tuple[int, ...]:
        """The sorted zero-based tags for which the bank has foregrounds."""
        return tuple(self._entries)

    @property
    def counts(self) -> dict[str, int]:
        """Number of foregrounds per class name, for every class of the dataset."""
        return {name: len(self._entries.get(tag, ())) for tag, name in enumerate(self.classes)}

    def entries(self, tag: int) -> tuple[BankEntry, ...]:
        """Return the foregrounds of a class, in the order of the index."""
        return self._entries.get(tag, ())

    def missing(self, classes: Sequence[str]) -> list[str]:
        """Return the given classes for which the bank has no foreground."""
        counts = self.counts
        return [name for name in classes if not counts.get(name)]

    def read(self, entry: BankEntry) -> Foreground:
        """Read a foreground. Raises UserError naming its file."""
        return read_foreground(self.folder, entry, self.classes.index(entry.class_name))

    def draw(self, absent: Sequence[int], rng: np.random.Generator) -> Foreground | None:
        """Draw a random foreground of a class in `absent`: first a class, then one of its foregrounds, uniformly.

        None if the bank has none of these classes.
        """
        wanted = set(absent)
        tags = [tag for tag in self._entries if tag in wanted]
        if not tags:
            return None
        group = self._entries[tags[rng.integers(len(tags))]]
        return self.read(group[rng.integers(len(group))])


def _check_files(folder: Path, entries: Sequence[BankEntry]) -> None:
    # one listing per folder: checking every single file takes minutes on a network drive
    folders = {folder / entry.class_name for entry in entries}
    with disk_errors(folder, "listed"):
        there = {f"{path.name}/{file.name}" for path in folders if path.is_dir() for file in path.iterdir()}
    wanted = [file for entry in entries for file in (entry.file, saliency_file(entry.file))]
    missing = [file for file in wanted if file not in there]
    if missing:
        what = f"{len(missing)} of {len(wanted)} files are missing ({first_few(missing)})"
        raise UserError(what, folder, remedy=REMEDY)
