"""Selects the objects of a dataset that are reliable enough to be pasted into other images."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict, Unpack

import cv2
import numpy as np

from utils.copy_paste.bank import Foreground
from utils.data.catalog import IGNORE_INDEX


class Rejection(StrEnum):
    """Why an image yields no foreground."""

    SEVERAL_TAGS = "more than one tag"
    NO_OBJECT = "no object in the label"
    SEVERAL_CLASSES = "more than one class in the label"
    OTHER_CLASS = "another class in the label than the tag"
    SMALL_SHARE = "object under --min_area"
    LARGE_SHARE = "object over --max_area"
    SMALL_BOX = "box under --min_side"
    UNLIKE_SALIENCY = "IoU with the saliency under --min_agreement"
    CUT = "cut by the border, and its class has --min_per_class without"


@dataclass(frozen=True)
class Candidate:
    """A reliable object: box (top, left, bottom, right), ends excluded, and area in pixels."""

    name: str
    tag: int  # zero-based
    box: tuple[int, int, int, int]
    area: int
    agreement: float  # IoU of object and salient pixels
    is_cut: bool  # the box touches the image's border

    @property
    def window(self) -> tuple[slice, slice]:
        """Slices that cut the box out of (H, W, …)."""
        return window_of(self.box)


class Bounds(TypedDict):
    """Limits for objects: area as a fraction of the image, shorter side of the box in pixels, IoU with the salient
    pixels.
    """

    min_area: float
    max_area: float
    min_side: int
    min_agreement: float


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the bounding box of a non-empty mask (H, W) bool: top, left, bottom, right, ends excluded."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return top, left, top + height, left + width


def window_of(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """Return slices that cut a box out of (H, W, …)."""
    top, left, bottom, right = box
    return slice(top, bottom), slice(left, right)


def cut_out(
    image: np.ndarray,
    mask: np.ndarray,
    window: tuple[slice, slice],
    *,
    tag: int,
    source: str,
    saliency: np.ndarray | None = None,
) -> Foreground:
    """Cut an object's window out of image (H, W, 3), mask (H, W) bool and saliency (H, W).

    Without a saliency map, the object's mask is its saliency.
    """
    inside = mask[window]
    salient = inside.astype(np.uint8) * 255 if saliency is None else saliency[window]
    return Foreground(np.ascontiguousarray(image[window]), inside, salient, tag, source)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the intersection over union of two masks (H, W) bool; 0 if both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def judge(
    name: str,
    label: np.ndarray,
    salient: np.ndarray | None,
    *,
    tag: int | None,
    **bounds: Unpack[Bounds],
) -> Candidate | Rejection:
    """Return an image's object, or the reason why it is not reliable.

    label (H, W) uint8: 0 background, 255 not an object. salient: (H, W) bool, or None if unknown. tag: the image's only
    zero-based tag, or None if its tags are unknown. bounds: see Bounds.
    CDA (Su et al., ICCV 2021), sec. 3.2.
    """
    classes = [int(value) for value in np.unique(label) if value not in (0, IGNORE_INDEX)]
    if len(classes) != 1:
        return Rejection.SEVERAL_CLASSES if classes else Rejection.NO_OBJECT
    if tag is not None and tag != classes[0] - 1:
        return Rejection.OTHER_CLASS
    mask = label == classes[0]
    area = int(np.count_nonzero(mask))
    if not bounds["min_area"] <= area / mask.size <= bounds["max_area"]:
        return Rejection.SMALL_SHARE if area / mask.size < bounds["min_area"] else Rejection.LARGE_SHARE
    top, left, bottom, right = box_of(mask)
    if min(bottom - top, right - left) < bounds["min_side"]:
        return Rejection.SMALL_BOX
    agreement = 1.0 if salient is None else iou(mask, salient)
    # only salient pixels are pasted, so an object without any is useless
    if agreement < bounds["min_agreement"] or agreement == 0:
        return Rejection.UNLIKE_SALIENCY
    is_cut = min(top, left) == 0 or bottom == mask.shape[0] or right == mask.shape[1]
    return Candidate(name, classes[0] - 1, (top, left, bottom, right), area, agreement, is_cut)


def choose(candidates: Sequence[Candidate], *, min_per_class: int) -> list[Candidate]:
    """Select all complete objects, and objects cut off by the border only until their class has min_per_class.

    A cut-off object looks wrong in the middle of another image. Those with the best agreement are taken first. The
    result is sorted by tag and name.
    """
    chosen = []
    for tag in sorted({candidate.tag for candidate in candidates}):
        group = [candidate for candidate in candidates if candidate.tag == tag]
        whole = [candidate for candidate in group if not candidate.is_cut]
        cut = sorted((c for c in group if c.is_cut), key=lambda c: (-c.agreement, c.name))
        chosen += sorted(whole + cut[: max(0, min_per_class - len(whole))], key=lambda c: c.name)
    return chosen
