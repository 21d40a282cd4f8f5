"""The published foreground bank: CLASS/NAME.npy, pickled dictionaries of img, seg and sal, read without unpickling."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from utils.copy_paste.bank import Foreground
from utils.copy_paste.selection import box_of
from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError
from utils.files.disk import disk_errors
from utils.files.npy_dict import read_npy_dict
from utils.files.text import first_few

IMAGE, MASK, SALIENCY = "img", "seg", "sal"
LISTING = "seg_fg_dirs.npy"  # paths of all files of the bank


def find_published(folder: Path, classes: Sequence[str]) -> list[Path]:
    """The files of a published bank by class and name.

    Raises UserError where there are none, and where a folder is not named for a class.
    """
    files = sorted(path for path in folder.glob("*/*.npy") if not path.name.startswith("."))
    if not files:
        raise UserError("holds no CLASS/NAME.npy", folder, remedy="give the folder above the classes by --published")
    strange = sorted({path.parent.name for path in files} - set(classes))
    if strange:
        raise UserError(
            f"{', '.join(strange)} are not classes of the dataset",
            folder,
            f"expected one of {', '.join(classes)}",
            "give the bank's --dataset",
        )
    return sorted(files, key=lambda path: classes.index(path.parent.name))


def missing_from_listing(folder: Path, files: Sequence[Path]) -> list[str]:
    """CLASS/NAME of what the bank's own listing names and the folder lacks; empty where there is no listing.

    Raises UserError for a listing that is not plain text in an array: nothing is unpickled.
    """
    path = folder / LISTING
    if not path.is_file():
        return []
    try:
        with disk_errors(path):
            listed = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        remedy = "move it away, the files themselves suffice"
        raise UserError(f"is refused ({error})", path, remedy=remedy) from error
    # the paths are those of the machine that it was made on: only their ends say something here
    names = {"/".join(PurePosixPath(str(line)).with_suffix("").parts[-2:]) for line in listed.ravel()}
    return sorted(names - {f"{file.parent.name}/{file.stem}" for file in files})


def read_published(path: Path, *, tag: int, bgr: bool) -> Foreground:
    """Reads one file, cropped to its object. Raises UserError that names the file and the array that does not fit.

    img (h, w, 3) in 0..255, or floats in 0..1; seg (h, w) with the object as 1, 255 or tag + 1; sal (h, w) in 0..255
    or 0..1, and where there is none the object itself. bgr: img is in OpenCV's order of channels.
    """
    content = read_npy_dict(path)
    absent = [key for key in (IMAGE, MASK) if not isinstance(content.get(key), np.ndarray)]
    if absent:
        raise UserError(f"no array {' and '.join(absent)} (it has {', '.join(content) or 'nothing'})", path)
    image = _eight_bit(content[IMAGE], f"{path}: {IMAGE}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{IMAGE} is {image.shape}", path, "it must be (h, w, 3)")
    mask = _object(_plane(content[MASK], f"{path}: {MASK}"), tag, f"{path}: {MASK}")
    saliency = mask.astype(np.uint8) * 255
    if SALIENCY in content:
        saliency = _eight_bit(_plane(content[SALIENCY], f"{path}: {SALIENCY}"), f"{path}: {SALIENCY}")
    if not image.shape[:2] == mask.shape == saliency.shape:
        shapes = f"{IMAGE} {image.shape}, {MASK} {mask.shape}, {SALIENCY} {saliency.shape}"
        raise UserError(shapes, path, "height and width must agree")
    top, left, bottom, right = box_of(mask)
    window = slice(top, bottom), slice(left, right)
    image = image[..., ::-1] if bgr else image
    return Foreground(np.ascontiguousarray(image[window]), mask[window], saliency[window], tag, path.stem)


def _plane(array: np.ndarray, where: str) -> np.ndarray:
    """(h, w) from (h, w), (h, w, 1), or three equal channels."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] in (1, 3) and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        raise UserError(f"is {array.shape}", where, "it must be (h, w)")
    return array


def _eight_bit(array: np.ndarray, where: str) -> np.ndarray:
    """uint8 from whole numbers in 0..255, from floats in 0..255, or from 0..1 (floats, and 0 and 1 alone)."""
    if not array.size or not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise UserError(f"{array.dtype} {array.shape} outside 0..255", where, "it must be 0..255, or floats in 0..1")
    if array.dtype.kind == "b" or array.max() <= 1:
        array = array * 255.0
    return np.round(array).astype(np.uint8)


def _object(values: np.ndarray, tag: int, where: str) -> np.ndarray:
    """(h, w) bool from a mask whose object is 1, 255 or the class's label; beside another value 255 is ignored."""
    found = [float(value) for value in np.unique(values) if value != 0]
    objects = [value for value in found if value != IGNORE_INDEX] or found
    if len(objects) != 1 or objects[0] not in (1, IGNORE_INDEX, tag + 1):
        shown = first_few(f"{value:g}" for value in found) or "0 alone"
        raise UserError(f"holds {shown}", where, f"the object must be 1, {IGNORE_INDEX} or its class's {tag + 1}")
    return values == objects[0]
