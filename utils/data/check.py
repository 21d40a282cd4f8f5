"""Checks a dataset's files before hours of work and reports every fault, not only the first."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from utils.data.catalog import IGNORE_INDEX
from utils.data.images import are_few, decode, decode_with_bits, open_complete, open_header
from utils.data.label_check import unknown_labels
from utils.data.maps import SIXTEEN_BIT, label_of, saliency_of
from utils.data.photos import SCALED, TURNED, is_turned, read_photo
from utils.errors import UserError
from utils.files.sources import digest_of
from utils.files.text import first_few

# Pillow modes that are valid in a dataset; scripts/prepare_own.py converts others
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "HSV", "LAB")
LABEL_MODES = ("P", "L", "1", *SIXTEEN_BIT)
# kind of fault -> remedy
REMEDIES = {
    "image lists with wrong lines": "fix these lines",
    "lists with uninformative tags": "change the tags, or add images",
    "images missing": "add them, or remove them from the list",
    "images unreadable": "replace them, or remove them from the list",
    "images without 8 bits per channel": "save them as 8-bit JPEG or PNG",
    "saliency maps missing": "create them with scripts/make_saliency.py, or train with --sal_dir=none",
    "saliency maps unreadable": "create them again",
    "saliency maps that are not grey": "save them as grey PNGs of 0 to 255, or as cut-outs with alpha",
    "saliency maps of another size than their image": "create them again from these images",
    "masks missing": "add them, or remove them from the list",
    "masks unreadable": "replace them, or remove them from the list",
    "masks that are not label maps": "convert colours to class indices (mode P or L)",
    "masks of another size than their image": "create them again from these images",
    "masks without any object": f"if {IGNORE_INDEX} means object, save it as 1: {IGNORE_INDEX} is ignored",
    "masks with invalid values": f"expected 0 (background), 1 to the number of classes, or {IGNORE_INDEX}",
}


ReadT = TypeVar("ReadT")


class Fault(NamedTuple):
    """kind: a key of REMEDIES; where: the file or list; detail: the invalid value."""

    kind: str
    where: str
    detail: str = ""


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image. None: not checked."""

    name: str
    image: Path
    saliency: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class ImageReport:
    """Faults of one image's files. labels: classes in its mask. turned: the image's EXIF data rotates it.

    size: width and height of the upright photo, and digest: of the file's content, if inspect_photo read it.
    readings: conversions that were needed to read its maps. changes: what scripts/prepare_own.py would change in the
    image (read_photo).
    """

    name: str
    faults: tuple[Fault, ...]
    labels: tuple[int, ...] = ()
    has_ignored: bool = False
    turned: bool = False
    readings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    digest: str = ""


def inspect_image(files: ImageFiles, *, num_classes: int, whole: bool = True) -> ImageReport:
    """Read image, saliency map and mask of one image. whole: decode them instead of reading only their ends."""
    look = _Inspection()
    image = look.read(files.image, "images", decode if whole else open_complete)
    if image and image.mode not in EIGHT_BIT:
        look.fault("images without 8 bits per channel", files.image, f"mode {image.mode}")
    turned = image is not None and whole and is_turned(image)  # a PNG's EXIF data may follow its pixels
    labels = look.maps(files, image.size if image else None, num_classes=num_classes, whole=whole)
    return ImageReport(files.name, tuple(look.faults), labels, look.has_ignored, turned, tuple(look.readings))


def inspect_photo(files: ImageFiles, *, num_classes: int, max_side: int) -> ImageReport:
    """Read a photo of any format as scripts/prepare_own.py does, and its maps, which have the upright photo's size."""
    look = _Inspection()
    photo = look.read(files.image, "images", read_photo)
    labels = look.maps(files, photo.image.size if photo else None, num_classes=num_classes, whole=True)
    changes = list(photo.changes) if photo else []
    if photo and max_side and max(photo.image.size) > max_side:
        changes.append(SCALED)
    turned = TURNED in changes
    faults, readings = tuple(look.faults), tuple(look.readings)
    size = photo.image.size if photo else None
    digest = digest_of(files.image) if photo else ""
    return ImageReport(files.name, faults, labels, look.has_ignored, turned, readings, tuple(changes), size, digest)


class _Inspection:
    """Collects the faults of one image's files and the conversions that were needed to read them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.readings: list[str] = []
        self.has_ignored = False  # the mask has ignored pixels

    def fault(self, kind: str, path: Path | None, detail: str = "") -> None:
        self.faults.append(Fault(kind, str(path), detail))

    def read(self, path: Path | None, what: str, reader: Callable[[Path], ReadT]) -> ReadT | None:
        """Return reader(path). Returns None and records a fault if the file is missing or unreadable."""
        if path is None:
            return None
        if not path.exists():
            self.fault(f"{what} missing", path)
            return None
        try:
            return reader(path)
        except UserError as error:
            reason = error.__cause__ if isinstance(error.__cause__, (OSError, SyntaxError, ValueError)) else error.what
            self.fault(f"{what} unreadable", path, str(reason))
        return None

    def maps(
        self, files: ImageFiles, size: tuple[int, int] | None, *, num_classes: int, whole: bool
    ) -> tuple[int, ...]:
        """Check saliency map and mask of an image of `size` (width, height). Returns the classes in the mask."""
        saliency = self.read(files.saliency, "saliency maps", decode if whole else open_complete)
        mask = self.read(files.mask, "masks", decode_with_bits if whole else lambda path: (open_header(path), ""))
        for other, path, what in (
            (saliency, files.saliency, "saliency maps"),
            (mask and mask[0], files.mask, "masks"),
        ):
            if size and other and other.size != size:
                self.fault(
                    f"{what} of another size than their image", path, f"{_pixels(other.size)}, image {_pixels(size)}"
                )
        if saliency and whole:
            self._meaning("saliency maps that are not grey", files.saliency, lambda path: saliency_of(saliency, path))
        if not mask:
            return ()
        if not whole:
            if mask[0].mode not in LABEL_MODES:
                self.fault("masks that are not label maps", files.mask, f"mode {mask[0].mode}")
            return ()
        values = self._meaning(
            "masks that are not label maps", files.mask, lambda path: label_of(mask[0], path, mask[1])
        )
        if values is None:
            return ()
        if unknown := unknown_labels(values, num_classes + 1):
            self.fault("masks with invalid values", files.mask, first_few(map(str, unknown)))
        self.has_ignored = bool((values == IGNORE_INDEX).any())
        return tuple(value for value in np.unique(values).tolist() if 0 < value <= num_classes)

    def _meaning(
        self, kind: str, path: Path | None, reader: Callable[[Path], tuple[np.ndarray, str | None]]
    ) -> np.ndarray | None:
        """Return the map's values. Returns None and records a fault if the file is not such a map."""
        assert path is not None
        try:
            values, reading = reader(path)
        except UserError as error:
            self.fault(kind, path, error.what)
            return None
        if reading:
            self.readings.append(reading)
        return values


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def inspect_before_training(items: Sequence[ImageFiles]) -> Iterator[Fault]:
    """Yield faults of the files that training reads. A few files are decoded; of more, only header and end are read.

    These show files that are not images, are cut short or differ in size, at some thousand images per second.
    """
    whole = are_few([path for item in items for path in (item.image, item.saliency) if path])
    look = partial(inspect_image, num_classes=0, whole=whole)
    # threads: the files may be on a network drive, and reading headers needs little CPU time
    with ThreadPoolExecutor(8) as threads:
        bar = tqdm(threads.map(look, items), "checking images", len(items), unit="image", delay=2, mininterval=2)
        for report in bar:
            yield from report.faults


def summary(faults: Iterable[Fault], *, shown: int = 10) -> list[str]:
    """Return one line per kind of fault: number, first few, remedy."""
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    return [
        f"{len(by_kind[kind])} {kind}: {first_few(map(_told, by_kind[kind]), shown)}: {remedy}"
        for kind, remedy in REMEDIES.items()
        if kind in by_kind
    ]


def _told(fault: Fault) -> str:
    return f"{fault.where} ({fault.detail})" if fault.detail else fault.where
