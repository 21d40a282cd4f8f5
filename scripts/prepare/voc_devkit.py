"""Reads the two downloads of VOC's training data: the devkit's folder VOC2012, and SBD's benchmark_RELEASE."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from utils.data.catalog import IMAGE_FOLDER, MASK_FOLDER, VOC_CLASSES
from utils.errors import UserError
from utils.files.disk import disk_errors

ANNOTATION_FOLDER = "Annotations"
SPLIT_FOLDER = Path("ImageSets") / "Segmentation"
VOC_PIECES = (
    IMAGE_FOLDER, MASK_FOLDER, ANNOTATION_FOLDER, str(SPLIT_FOLDER / "train.txt"), str(SPLIT_FOLDER / "val.txt"),
)  # fmt: skip
SBD_PIECES = ("cls", "train.txt", "val.txt")


def find_voc(folder: Path) -> Path:
    """Find the folder VOC2012, given it or its parent. Raises UserError naming every missing part."""
    candidates = [folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"]
    return _with_pieces(
        candidates, VOC_PIECES, "--voc", "unpack VOCtrainval_11-May-2012.tar, give its VOCdevkit/VOC2012"
    )


def find_sbd(folder: Path) -> Path:
    """Find SBD's folder `dataset`, given it or its parent. Raises UserError naming every missing part."""
    candidates = [folder, folder / "dataset", folder / "benchmark_RELEASE" / "dataset"]
    return _with_pieces(candidates, SBD_PIECES, "--sbd", "unpack benchmark.tgz and give its benchmark_RELEASE")


def _with_pieces(candidates: list[Path], pieces: tuple[str, ...], option: str, remedy: str) -> Path:
    missing = {folder: [piece for piece in pieces if not (folder / piece).exists()] for folder in candidates}
    best = min(candidates, key=lambda folder: len(missing[folder]))
    if missing[best]:
        raise UserError(f"{best} is missing {', '.join(missing[best])}", option, remedy=remedy)
    return best


def read_box_tags(path: Path) -> tuple[int, ...]:
    """Read the tags of the boxes in an annotation, including difficult ones. Raises UserError naming the file.

    Parts of a person (head, hand, foot) do not count as objects.
    """
    try:
        with disk_errors(path):
            objects = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise UserError(f"is not XML ({error})", path, remedy="unpack the annotations again") from error
    names = {(item.findtext("name") or "").strip() for item in objects}
    strange = sorted(names - set(VOC_CLASSES))
    if strange:
        raise UserError(", ".join(map(repr, strange)), path, f"expected one of VOC's {len(VOC_CLASSES)} classes")
    return tuple(sorted(VOC_CLASSES.index(name) for name in names))


def read_sbd_mask(path: Path) -> np.ndarray:
    """Read class indices (H, W) uint8 from an SBD file, GTcls.Segmentation. Raises UserError naming the file."""
    try:
        mask = np.asarray(loadmat(path, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"])
    except (MatReadError, KeyError, IndexError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise UserError(f"contains no GTcls.Segmentation ({error})", path, remedy="unpack it again") from error
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or not mask.size:
        raise UserError(f"GTcls.Segmentation is {mask.shape} {mask.dtype}", path, "expected (H, W) integers")
    if mask.min() < 0 or mask.max() > len(VOC_CLASSES):
        raise UserError(f"contains values up to {mask.max()}", path, f"expected 0 to {len(VOC_CLASSES)}")
    return mask.astype(np.uint8)
