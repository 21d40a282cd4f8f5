"""A look at the files of a data set before hours of work: every fault is told, not the first alone."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image
from tqdm import tqdm

from utils.data.catalog import IGNORE_INDEX
from utils.data.images import decode, open_header
from utils.data.label_check import unknown_labels
from utils.errors import UserError
from utils.files.text import first_few

EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "HSV", "LAB")
LABEL_MODES = ("P", "L")
# kind of fault -> what to do about it
REMEDIES = {
    "image lists with wrong lines": "mend these lines",
    "images missing": "put them there, or take them off the list",
    "images unreadable": "replace them, or take them off the list",
    "images not of 8 bits a channel": "save them as 8-bit JPEG or PNG",
    "saliency maps missing": "scripts/make_saliency.py makes them, or train with --sal_dir=none",
    "saliency maps unreadable": "make them again",
    "saliency maps not of 8 bits": "save them as grey PNGs of 0 to 255",
    "saliency maps of another size than their image": "make them again from these images",
    "masks missing": "put them there, or take them off the list",
    "masks unreadable": "replace them, or take them off the list",
    "masks that are no label maps": "convert colours to class indices (mode P or L)",
    "masks of another size than their image": "make them again from these images",
    "masks with values that are no class": f"legal are 0 (background), 1 to the number of classes, {IGNORE_INDEX}",
}


class Fault(NamedTuple):
    """kind: a key of REMEDIES; where: the file or list; detail: the value that breaks the rule."""

    kind: str
    where: str
    detail: str = ""


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image; None is what is not looked at."""

    name: str
    image: Path
    saliency: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class ImageReport:
    """What is wrong with one image's files; labels: classes in its mask; turned: EXIF asks to rotate the image."""

    name: str
    faults: tuple[Fault, ...]
    labels: tuple[int, ...] = ()
    turned: bool = False


def look_at(files: ImageFiles, *, num_classes: int, whole: bool = True, upright: bool = False) -> ImageReport:
    """Reads image, saliency map and mask of one image, whole or their headers alone.

    upright: saliency map and mask must have the size that the image has once it is turned as its EXIF says.
    """
    faults: list[Fault] = []
    read = partial(_read, whole=whole, faults=faults)
    image = read(files.image, "images")
    saliency = read(files.saliency, "saliency maps")
    mask = read(files.mask, "masks")
    if image and image.mode not in EIGHT_BIT:
        faults.append(Fault("images not of 8 bits a channel", str(files.image), f"mode {image.mode}"))
    if saliency and saliency.mode not in EIGHT_BIT:
        faults.append(Fault("saliency maps not of 8 bits", str(files.saliency), f"mode {saliency.mode}"))
    turned = image is not None and whole and is_turned(image)  # a PNG's EXIF may stand after its pixels
    size = None
    if image:
        size = image.size[::-1] if upright and swaps_sides(image) else image.size
    for other, path, what in ((saliency, files.saliency, "saliency maps"), (mask, files.mask, "masks")):
        if size and other and other.size != size:
            detail = f"{_pixels(other.size)}, image {_pixels(size)}"
            faults.append(Fault(f"{what} of another size than their image", str(path), detail))
    labels: tuple[int, ...] = ()
    if mask and mask.mode not in LABEL_MODES:
        faults.append(Fault("masks that are no label maps", str(files.mask), f"mode {mask.mode}"))
    elif mask and whole:
        values = np.asarray(mask)
        labels = tuple(value for value in np.unique(values).tolist() if 0 < value <= num_classes)
        if unknown := unknown_labels(values, num_classes + 1):
            faults.append(Fault("masks with values that are no class", str(files.mask), first_few(map(str, unknown))))
    return ImageReport(files.name, tuple(faults), labels, turned)


def _read(path: Path | None, what: str, *, whole: bool, faults: list[Fault]) -> Image.Image | None:
    """The image, or its header alone; None, and a fault, where it is missing or cannot be read."""
    if path is None:
        return None
    if not path.exists():
        faults.append(Fault(f"{what} missing", str(path)))
        return None
    try:
        return decode(path) if whole else open_header(path)
    except UserError as error:
        faults.append(Fault(f"{what} unreadable", str(path), str(error.__cause__)))
    return None


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def is_turned(image: Image.Image) -> bool:
    """Whether the image's EXIF asks to show it rotated or mirrored."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)


def swaps_sides(image: Image.Image) -> bool:
    """Whether it stands upright with width and height exchanged."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)


def look_at_headers(items: Sequence[ImageFiles]) -> Iterator[Fault]:
    """The faults that headers tell: no image, wrong size; a second for some thousand images."""
    look = partial(look_at, num_classes=0, whole=False)
    # threads: the files may lie behind a network, and a header costs no computing
    with ThreadPoolExecutor(8) as threads:
        bar = tqdm(threads.map(look, items), "checking headers", len(items), unit="image", delay=2, mininterval=2)
        for report in bar:
            yield from report.faults


def summary(faults: Iterable[Fault], *, shown: int = 3) -> list[str]:
    """A line for every kind of fault: how many, the first few, what to do."""
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
