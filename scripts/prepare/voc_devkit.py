"""The two downloads that VOC's training data comes from: the devkit's folder VOC2012, and SBD's benchmark_RELEASE."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from utils.data.catalog import IMAGE_FOLDER, MASK_FOLDER, VOC_CLASSES

ANNOTATION_FOLDER = "Annotations"
SPLIT_FOLDER = Path("ImageSets") / "Segmentation"
VOC_PIECES = (
    IMAGE_FOLDER, MASK_FOLDER, ANNOTATION_FOLDER, str(SPLIT_FOLDER / "train.txt"), str(SPLIT_FOLDER / "val.txt"),
)  # fmt: skip
SBD_PIECES = ("cls", "train.txt", "val.txt")


def find_voc(folder: Path) -> Path:
    """The folder VOC2012, also where the one above is named. Raises FileNotFoundError naming every missing piece."""
    places = [folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"]
    return _with_pieces(places, VOC_PIECES, "--voc", "unpack VOCtrainval_11-May-2012.tar, give its VOCdevkit/VOC2012")


def find_sbd(folder: Path) -> Path:
    """SBD's folder `dataset`, also where the one above is named. Raises FileNotFoundError naming what is missing."""
    places = [folder, folder / "dataset", folder / "benchmark_RELEASE" / "dataset"]
    return _with_pieces(places, SBD_PIECES, "--sbd", "unpack benchmark.tgz and give its benchmark_RELEASE")


def _with_pieces(places: list[Path], pieces: tuple[str, ...], option: str, remedy: str) -> Path:
    missing = {place: [piece for piece in pieces if not (place / piece).exists()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    if missing[best]:
        raise FileNotFoundError(f"{option}: {best} lacks {', '.join(missing[best])}: {remedy}")
    return best


def read_box_tags(path: Path) -> tuple[int, ...]:
    """Tags of the boxes in an annotation, those marked as difficult too. Raises ValueError naming the file.

    Parts of a person (head, hand, foot) are no objects of their own.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is no XML ({error}): unpack the annotations again") from None
    names = {(item.findtext("name") or "").strip() for item in objects}
    strange = sorted(names - set(VOC_CLASSES))
    if strange:
        raise ValueError(f"{path}: {', '.join(map(repr, strange))} is none of VOC's {len(VOC_CLASSES)} classes")
    return tuple(sorted(VOC_CLASSES.index(name) for name in names))


def read_sbd_mask(path: Path) -> np.ndarray:
    """Class indices (H, W) uint8 of an SBD file, GTcls.Segmentation. Raises ValueError naming the file."""
    try:
        mask = np.asarray(loadmat(path, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"])
    except (MatReadError, KeyError, IndexError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} holds no GTcls.Segmentation ({error}): unpack it again") from error
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or not mask.size:
        raise ValueError(f"{path}: GTcls.Segmentation is {mask.shape} {mask.dtype}: it must be (H, W) of whole numbers")
    if mask.min() < 0 or mask.max() > len(VOC_CLASSES):
        raise ValueError(f"{path} holds values up to {mask.max()}: SBD's are 0 to {len(VOC_CLASSES)}")
    return mask.astype(np.uint8)
