"""The regions of a label map, their outlines as polygons, and annotated photos as every format gives them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError

Objects = Literal["class", "part"]
Extent = Literal["region", "box", "none"]
IGNORED = ""  # the label of shapes whose pixels count nowhere
MOST_PIXELS = 1 << 29  # of a photo, as a file may state it: a larger one is a damaged file that would take all memory


@dataclass(frozen=True)
class Region:
    """Pixels (H, W) bool of one label of a photo; score: how sure the network was of them, 0..1, None if unknown."""

    label: int
    mask: np.ndarray
    score: float | None = None

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height in pixels."""
        left, top, width, height = cv2.boundingRect(self.mask.astype(np.uint8))
        return left, top, width, height


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo to be written: its name, its file, its size (H, W) in pixels, and its regions."""

    name: str
    image: Path
    size: tuple[int, int]
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Shape:
    """An annotated region. draw: size (H, W) -> its pixels, (H, W) bool.

    extent: whether these are the object's pixels, all pixels of a box around it, or none (a tag, a point, a line).
    """

    label: str
    draw: Callable[[tuple[int, int]], np.ndarray]
    extent: Extent = "region"


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo as an annotation file has it: its path as written, its size (H, W) where the file states it, and its
    shapes, the later on top of the earlier. where: the file, and what in it.
    """

    file: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    where: str

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(shape.label for shape in self.shapes if shape.label != IGNORED))


def draw_nothing(size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool without a pixel."""
    return np.zeros(size, bool)


def stated_size(height: Any, width: Any) -> tuple[int, int]:
    """The size (H, W) that a file states of a photo. Raises ValueError where no photo has it."""
    size = int(height), int(width)
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"a size of {width}x{height} pixels")
    return size


@contextmanager
def damaged(where: str | PathLike[str], rule: str, remedy: str = "export it again") -> Iterator[None]:
    """Convert what unexpected content raises to a UserError that names `where`, the file and what in it."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise UserError(f"cannot be read ({reason})", where, rule, remedy) from error


def regions_of(label: np.ndarray, *, objects: Objects, min_area: int = 0) -> Iterator[Region]:
    """The regions of a label map (H, W) uint8 without background and ignored pixels, by label.

    objects: `class` is one region per label, `part` one per connected area (8 neighbours). Regions of fewer than
    min_area pixels are left out.
    """
    for value in np.unique(label):
        if value in (0, IGNORE_INDEX):
            continue
        mask = label == value
        masks = [mask] if objects == "class" else parts_of(mask)
        yield from (region for part in masks if (region := Region(int(value), part)).area >= max(1, min_area))


def parts_of(mask: np.ndarray) -> list[np.ndarray]:
    """The connected areas of a mask (H, W) bool, each as one."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [numbers == number for number in range(1, count)]


def outlines(mask: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Outer outline and outlines of holes of each part of a mask (H, W) bool, as whole pixels (K, 2) x, y.

    They run through the outermost pixels of the part, also around a hole, from one pixel to a neighbour.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [contour.reshape(-1, 2) for contour in contours]
    parents = [] if hierarchy is None else hierarchy.reshape(-1, 4)[:, 3].tolist()
    return [
        (ring, [hole for hole, parent in zip(rings, parents) if parent == number])
        for number, ring in enumerate(rings)
        if parents[number] == -1
    ]


def bridged(outer: np.ndarray, holes: Sequence[np.ndarray]) -> np.ndarray:
    """One outline (K, 2) for a part with holes, as outlines gives them, for formats without holes.

    A path of no width leads from the outline to each hole and back. It runs through pixels of the part: to the left of
    the hole's leftmost pixel, up to the next outline.
    """
    ring = outer.tolist()
    for hole in sorted(holes, key=lambda points: points[:, 0].min()):
        first = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        around = np.roll(hole, -first, axis=0).tolist()
        x, y = around[0]
        place = {(px, py): index for index, (px, py) in enumerate(ring)}
        start = next(left for left in range(x, -1, -1) if (left, y) in place)
        index = place[(start, y)]
        ring = [*ring[: index + 1], *around, around[0], *ring[index:]]
    return without_straight(np.array(ring))


def without_straight(ring: np.ndarray) -> np.ndarray:
    """A closed outline (K, 2) without the points in the middle of straight lines; at least three points."""
    step, last = np.roll(ring, -1, axis=0) - ring, ring - np.roll(ring, 1, axis=0)
    kept = ring[(step != last).any(axis=1)]
    kept = ring if len(kept) < 1 else kept
    return kept if len(kept) >= 3 else np.concatenate([kept, np.repeat(kept[-1:], 3 - len(kept), axis=0)])
