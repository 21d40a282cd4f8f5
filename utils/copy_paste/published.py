"""The published format of foreground banks: TAG/NAME.npy with img, seg and sal, read without unpickling."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from utils.copy_paste.bank import PUBLISHED_LISTING as LISTING
from utils.copy_paste.bank import Foreground, ForegroundBank
from utils.copy_paste.selection import box_of
from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError
from utils.files.disk import disk_errors
from utils.files.npy_dict import read_npy_dict, write_npy_dict
from utils.files.text import first_few

IMAGE, MASK, SALIENCY = "img", "seg", "sal"


def tag_of_folder(name: str, classes: Sequence[str]) -> int | None:
    """Return the zero-based tag of a folder named by a class or a tag; None for other folders."""
    if name in classes:
        return classes.index(name)
    return int(name) if name.isdecimal() and int(name) < len(classes) else None


def find_published(folder: Path, classes: Sequence[str]) -> list[tuple[int, Path]]:
    """Return the files of a published bank with their tags, sorted by tag and name. Its folders are TAG/ or CLASS/.

    Raises UserError if there are none, or if a folder is not named after a class.
    """
    files = sorted(path for path in folder.glob("*/*.npy") if not path.name.startswith("."))
    if not files:
        remedy = "give the parent folder of the classes with --published"
        raise UserError("contains no TAG/NAME.npy or CLASS/NAME.npy", folder, remedy=remedy)
    found = [(tag_of_folder(path.parent.name, classes), path) for path in files]
    if strange := sorted({path.parent.name for tag, path in found if tag is None}):
        raise UserError(
            f"{', '.join(strange)} are not classes of the dataset",
            folder,
            f"expected one of {', '.join(classes)}, or 0 to {len(classes) - 1}",
            "give the bank's --dataset",
        )
    return sorted(((tag, path) for tag, path in found if tag is not None), key=lambda item: item[0])


def missing_from_listing(folder: Path, files: Sequence[Path]) -> list[str]:
    """Return FOLDER/NAME of every file in the bank's listing that is missing from the bank; [] if there is no listing.

    The listing is an array of text, or the published pickle of {tag: [NAME.npy]}, which is read without unpickling.
    Raises UserError for other content.
    """
    path = folder / LISTING
    names = _listed(path) if path.is_file() else set()
    return sorted(names - {f"{file.parent.name}/{file.stem}" for file in files})


def _listed(path: Path) -> set[str]:
    """Return FOLDER/NAME of every line of a listing. Its paths are of another machine, so only their ends count."""
    try:
        with disk_errors(path):
            lines = [str(line) for line in np.load(path, allow_pickle=False).ravel()]
    except (ValueError, EOFError):  # numpy refuses pickles; read_npy_dict reads the published one
        try:
            content = read_npy_dict(path)
        except UserError as error:
            raise UserError(error.what, path, error.rule, "move it away: the listing is not required") from error
        lines = [f"{tag}/{PurePosixPath(name).name}" for tag, names in content.items() for name in names]
    return {"/".join(PurePosixPath(line).with_suffix("").parts[-2:]) for line in lines}


def export_bank(bank: ForegroundBank, folder: Path, *, bgr: bool) -> list[int]:
    """Write a bank in the published format: TAG/NAME.npy and the listing. Returns the number of foregrounds per tag.

    img (h, w, 3) uint8 (bgr: in BGR order), seg (h, w) uint8 with the object as tag + 1, sal (h, w) uint8.
    """
    names: dict[int, list[str]] = {tag: [] for tag in range(len(bank.classes))}
    for tag in bank.tags:
        for entry in bank.entries(tag):
            foreground = bank.read(entry)
            image = foreground.image[..., ::-1] if bgr else foreground.image
            mask = foreground.mask.astype(np.uint8) * np.uint8(tag + 1)
            content = {IMAGE: np.ascontiguousarray(image), MASK: mask, SALIENCY: foreground.saliency}
            write_npy_dict(folder / str(tag) / f"{entry.source}.npy", content)
            names[tag].append(f"{entry.source}.npy")
    write_npy_dict(folder / LISTING, names)
    return [len(listed) for listed in names.values()]


def read_published(path: Path, *, tag: int, bgr: bool) -> Foreground:
    """Read one file, cropped to its object. Raises UserError naming the file and the invalid array.

    img (h, w, 3) in 0..255, or floats in 0..1; seg (h, w) with the object as 1, 255 or tag + 1; sal (h, w) in 0..255
    or 0..1; if it is missing, the object's mask is used. bgr: img has OpenCV's channel order.
    """
    content = read_npy_dict(path)
    absent = [key for key in (IMAGE, MASK) if not isinstance(content.get(key), np.ndarray)]
    if absent:
        raise UserError(f"no array {' and '.join(absent)} (it has {', '.join(map(str, content)) or 'nothing'})", path)
    image = _eight_bit(content[IMAGE], f"{path}: {IMAGE}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{IMAGE} is {image.shape}", path, "expected (h, w, 3)")
    mask = _object(_plane(content[MASK], f"{path}: {MASK}"), tag, f"{path}: {MASK}")
    saliency = mask.astype(np.uint8) * 255
    if SALIENCY in content:
        saliency = _eight_bit(_plane(content[SALIENCY], f"{path}: {SALIENCY}"), f"{path}: {SALIENCY}")
    if not image.shape[:2] == mask.shape == saliency.shape:
        shapes = f"{IMAGE} {image.shape}, {MASK} {mask.shape}, {SALIENCY} {saliency.shape}"
        raise UserError(shapes, path, "expected equal height and width")
    top, left, bottom, right = box_of(mask)
    window = slice(top, bottom), slice(left, right)
    image = image[..., ::-1] if bgr else image
    return Foreground(np.ascontiguousarray(image[window]), mask[window], saliency[window], tag, path.stem)


def _plane(array: np.ndarray, where: str) -> np.ndarray:
    """Convert (h, w), (h, w, 1), or three equal channels to (h, w)."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] in (1, 3) and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        raise UserError(f"is {array.shape}", where, "expected (h, w)")
    return array


def _eight_bit(array: np.ndarray, where: str) -> np.ndarray:
    """Convert integers or floats in 0..255, or values in 0..1, to uint8."""
    if not array.size or not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise UserError(f"{array.dtype} {array.shape} outside 0..255", where, "expected 0..255, or floats in 0..1")
    if array.dtype.kind == "b" or array.max() <= 1:
        array = array * 255.0
    return np.round(array).astype(np.uint8)


def _object(values: np.ndarray, tag: int, where: str) -> np.ndarray:
    """Convert a mask to (h, w) bool. The object is 1, 255 or the class's label; beside other values, 255 is ignored."""
    found = [float(value) for value in np.unique(values) if value != 0]
    objects = [value for value in found if value != IGNORE_INDEX] or found
    if len(objects) != 1 or objects[0] not in (1, IGNORE_INDEX, tag + 1):
        shown = first_few(f"{value:g}" for value in found) or "only 0"
        raise UserError(
            f"contains {shown}", where, f"expected the object as 1, {IGNORE_INDEX} or its class's {tag + 1}"
        )
    return values == objects[0]
