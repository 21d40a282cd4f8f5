"""Snaps labels to class-agnostic segments of their image: superpixels, or masks of a segmenter."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.data.images import decode
from utils.data.maps import SIXTEEN_BIT
from utils.data.run_lengths import counts_of, mask_of
from utils.errors import UserError
from utils.files.atomic import read_json

FORMS = (".png", ".json")
RULE = "segments are NAME.png (ids, 0 none) or NAME.json (a list of COCO run lengths)"
UNDECIDED = -1


@dataclass(frozen=True)
class SnapRule:
    """Which class a segment gets.

    coverage: the class, including background, that covers more than this fraction of the segment. share: additionally,
    an object class of which at least this fraction is inside the segment; None: never.
    """

    coverage: float = 0.5
    share: float | None = None


class Segments(ABC):
    """The segments of one image (H, W), which may overlap and need not cover it."""

    size: tuple[int, int]

    @abstractmethod
    def counts(self, label: np.ndarray, num_labels: int) -> np.ndarray:
        """Count the pixels of each label in each segment: label (H, W) uint8 -> (S, num_labels) int64."""

    @abstractmethod
    def paint(self, label: np.ndarray, classes: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """Paint every segment into the label (H, W) with its class in `classes` (S,), except UNDECIDED ones.

        Where segments overlap, objects are painted over background, and smaller objects over larger ones. areas: (S,)
        in pixels.
        """


@dataclass(frozen=True)
class Partition(Segments):
    """Segments without overlap: ids (H, W), 0 for no segment."""

    ids: np.ndarray

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        return self.ids.shape[0], self.ids.shape[1]

    def counts(self, label: np.ndarray, num_labels: int) -> np.ndarray:
        number = int(self.ids.max()) + 1
        pairs = self.ids.astype(np.int64).ravel() * num_labels + label.ravel()
        return np.bincount(pairs, minlength=number * num_labels).reshape(number, num_labels)[1:]

    def paint(self, label: np.ndarray, classes: np.ndarray, areas: np.ndarray) -> np.ndarray:
        found = np.concatenate([[UNDECIDED], classes])[self.ids]
        return np.where(found == UNDECIDED, label, found).astype(np.uint8)


@dataclass(frozen=True)
class Masks(Segments):
    """Segments as run lengths, decoded one at a time."""

    size: tuple[int, int]
    runs: tuple[np.ndarray, ...]

    def _mask(self, index: int) -> np.ndarray:
        return mask_of(self.runs[index], *self.size)

    def counts(self, label: np.ndarray, num_labels: int) -> np.ndarray:
        rows = [np.bincount(label[self._mask(i)], minlength=num_labels) for i in range(len(self.runs))]
        return np.array(rows, np.int64).reshape(-1, num_labels)

    def paint(self, label: np.ndarray, classes: np.ndarray, areas: np.ndarray) -> np.ndarray:
        decided = np.flatnonzero(classes != UNDECIDED).tolist()
        painted = label.copy()
        for i in sorted(decided, key=lambda i: (classes[i] > 0, -areas[i])):
            painted[self._mask(i)] = classes[i]
        return painted


def classes_of(counts: np.ndarray, areas_of_labels: np.ndarray, rule: SnapRule) -> np.ndarray:
    """Choose each segment's class (S,), or UNDECIDED, from pixel counts (S, L) of segments and (L,) of the label."""
    if not counts.size:
        return np.full(len(counts), UNDECIDED)
    most = counts.argmax(axis=1)
    classes = np.where(counts.max(axis=1) > rule.coverage * counts.sum(axis=1), most, UNDECIDED)
    if rule.share is not None:
        shares = counts / np.maximum(areas_of_labels, 1)
        shares[:, 0] = 0  # background is not an object
        holds = (classes <= 0) & (shares.max(axis=1) >= rule.share)
        classes = np.where(holds, shares.argmax(axis=1), classes)
    return classes


def snap(label: np.ndarray, segments: Segments, rule: SnapRule) -> np.ndarray:
    """Give each segment of a label (H, W) uint8, 0 background, a single class by the rule.

    Pixels outside segments with a class keep their label. Coverage 0.5 and share 0.85 select segments like SEPL, Chen
    et al., "Segment Anything Model (SAM) Enhanced Pseudo Labels for Weakly Supervised Semantic Segmentation", 2023.
    """
    num_labels = int(label.max(initial=0)) + 1
    counts = segments.counts(label, num_labels)
    classes = classes_of(counts, np.bincount(label.ravel(), minlength=num_labels), rule)
    return segments.paint(label, classes, counts.sum(axis=1))


def find_segments(folder: Path, name: str) -> Path:
    """Return the file of an image's segments, or its expected path. Raises UserError if there are two."""
    there = [path for suffix in FORMS if (path := folder / f"{name}{suffix}").is_file()]
    if len(there) > 1:
        raise UserError(f"{there[0].name} and {there[1].name} both exist", folder, RULE, "remove one of them")
    return there[0] if there else folder / f"{name}{FORMS[0]}"


def read_segments(path: Path, size: Sequence[int]) -> Segments:
    """Read the segments of an image of `size` (H, W). Raises UserError if the file has none, or another size.

    A PNG contains ids in 8 or 16 bits. JSON contains a list in the format of SAM's automatic mask generator: each item
    is run lengths, or has them under `segmentation`. The list may be under `annotations`.
    """
    height, width = size
    if path.suffix == ".json":
        return Masks((height, width), tuple(_runs(path, height, width)))
    image = decode(path)
    if image.mode not in ("L", "P", "1", *SIXTEEN_BIT):
        raise UserError(f"is an image of mode {image.mode}", path, RULE, "save ids as 16-bit grey values")
    ids = np.asarray(image).astype(np.int64)
    if ids.min() < 0:
        raise UserError(f"contains the id {ids.min()}", path, RULE, "save ids as 16-bit grey values")
    if ids.shape != (height, width):
        shape = f"{ids.shape[1]}x{ids.shape[0]}"
        raise UserError(f"its segments are {shape}, the image is {width}x{height}", path, remedy="create it again")
    if ids.max() >= 2**16:  # counts of pixels take memory in proportion to the largest
        ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape) + int(ids.min() > 0)
    return Partition(ids)


def _runs(path: Path, height: int, width: int) -> Iterator[np.ndarray]:
    remedy = "create it again from the images of the dataset"
    content = read_json(path, remedy=remedy)
    items = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(items, list):
        raise UserError(f"contains a {type(content).__name__} without a list of segments", path, RULE, remedy)
    for number, item in enumerate(items, 1):
        shape = item.get("segmentation", item) if isinstance(item, dict) else item
        try:
            yield counts_of(shape, height, width)
        except ValueError as error:
            raise UserError(f"segment {number}: {error}", path, RULE, remedy) from error
