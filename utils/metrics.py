"""Segmentation scores: the confusion matrix, and the scores of CAMs at every threshold in one pass."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.cam.labels import strongest_class, to_label
from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError
from utils.files.atomic import write_json

# the convention of every mean here, stated with every table and in every file of scores
ABSENT_CLASSES = "a class in neither masks nor predictions is excluded from the means; one only predicted counts as 0"


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1. Lists are by label, 0 is background; nan for labels in neither masks nor predictions.

    mean_iou follows ABSENT_CLASSES. Two other published conventions: mean_iou_absent_as_zero counts every label (the
    classifier's evaluate.py), mean_iou_of_masks only labels in the masks (DeepLab).
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    mean_iou_absent_as_zero: float
    mean_iou_of_masks: float
    frequency_weighted_iou: float
    false_positive_rate: float
    false_negative_rate: float
    class_iou: tuple[float, ...]


class ConfusionMatrix:
    """Pixel counts, matrix (num_labels, num_labels) int64: rows are the masks, columns the predictions."""

    def __init__(self, num_labels: int, matrix: np.ndarray | None = None) -> None:
        self.num_labels = num_labels
        self.matrix = np.zeros((num_labels, num_labels), np.int64) if matrix is None else np.array(matrix, np.int64)
        if self.matrix.shape != (num_labels, num_labels):
            raise ValueError(f"matrix {self.matrix.shape}: {num_labels} labels need ({num_labels}, {num_labels})")

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image. prediction and target: integers of equal shape; pixels with target 255 are ignored.

        Raises UserError if the shapes differ or a label is outside 0..num_labels-1: both come from files.
        """
        prediction, target = np.asarray(prediction), np.asarray(target)
        if prediction.shape != target.shape:
            raise UserError(f"prediction is {prediction.shape}, mask {target.shape}", rule="expected equal sizes")
        kept = target != IGNORE_INDEX
        prediction, target = prediction[kept].astype(np.int64), target[kept].astype(np.int64)
        for values, what in ((prediction, "prediction"), (target, "mask")):
            _check_range(values, self.num_labels, what)
        codes = target * self.num_labels + prediction
        self.matrix += np.bincount(codes, minlength=self.num_labels**2).reshape(self.matrix.shape)

    def __iadd__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Add the counts of another matrix with the same number of labels."""
        if other.num_labels != self.num_labels:
            raise ValueError(f"{other.num_labels} labels cannot be added to {self.num_labels}")
        self.matrix += other.matrix
        return self

    def scores(self) -> Scores:
        """Compute all scores. Absent labels are treated as stated in ABSENT_CLASSES.

        The false positive and negative rates are (predicted - hit) / union and (masked - hit) / union, averaged over
        the object labels without background, as in the published table.
        """
        hit = np.diag(self.matrix).astype(np.float64)
        masked = self.matrix.sum(axis=1).astype(np.float64)
        predicted = self.matrix.sum(axis=0).astype(np.float64)
        union = masked + predicted - hit
        total = self.matrix.sum()
        iou = _ratio(hit, union)
        return Scores(
            pixel_accuracy=float(hit.sum() / total) if total else float("nan"),
            mean_accuracy=_mean(_ratio(hit, masked)),
            mean_iou=_mean(iou),
            mean_iou_absent_as_zero=float(np.nan_to_num(iou).mean()) if total else float("nan"),
            mean_iou_of_masks=_mean(iou[masked > 0]),
            frequency_weighted_iou=float(np.nansum(iou * masked) / total) if total else float("nan"),
            false_positive_rate=_mean(_ratio(predicted - hit, union)[1:]),
            false_negative_rate=_mean(_ratio(masked - hit, union)[1:]),
            class_iou=tuple(iou.tolist()),
        )


class Ignored(NamedTuple):
    """Pixels that only the prediction ignores: their fraction, and the mean IoU if they are counted as wrong."""

    ignored_fraction: float
    mean_iou_ignored_as_wrong: float | None


def ignored_pixels(confusion: ConfusionMatrix, missing: np.ndarray) -> Ignored:
    """Score pixels that only the predictions ignore. missing (num_labels,): their number per mask label."""
    hit = np.diag(confusion.matrix).astype(np.float64)
    union = confusion.matrix.sum(axis=0) + confusion.matrix.sum(axis=1) + missing - hit
    total = int(confusion.matrix.sum() + missing.sum())
    mean = _mean(_ratio(hit, union.astype(np.float64)))
    return Ignored(float(missing.sum() / total) if total else 0.0, None if math.isnan(mean) else mean)


def label_confusion(label: np.ndarray, mask: np.ndarray, *, num_labels: int) -> ConfusionMatrix:
    """Compare one image's pseudo label with its mask, both (H, W) integers. Pixels where either is 255 are ignored.

    Raises UserError if the sizes differ or a label is outside 0..num_labels-1.
    """
    matrix = ConfusionMatrix(num_labels)
    if label.shape == mask.shape:
        # ignored pixels of a pseudo label are neither right nor wrong
        mask = np.where(label == IGNORE_INDEX, IGNORE_INDEX, mask)
    matrix.update(label, mask)
    return matrix


def _check_range(values: np.ndarray, num_labels: int, what: str) -> None:
    if values.size and (values.min() < 0 or values.max() >= num_labels):
        wrong = values[(values < 0) | (values >= num_labels)][0]
        rule = f"expected labels in 0..{num_labels - 1} ({IGNORE_INDEX} in a mask is ignored)"
        raise UserError(f"the {what} contains label {wrong}", rule=rule)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, nan where whole is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def cam_histogram(
    keys: np.ndarray,
    cams: np.ndarray,
    target: np.ndarray,
    *,
    num_labels: int,
    thresholds: Sequence[float],
    saliency: np.ndarray | None = None,
    saliency_weight: float = 0.0,
    saliency_support: float = 0.0,
) -> np.ndarray:
    """Count one image's pixels by (mask's label, strongest key, number of thresholds exceeded).

    keys (K,): zero-based. cams (K, H, W): uint8 (255 is 1) or float in 0..1. target (H, W): 255 is ignored.
    thresholds: increasing. saliency and how it is used: see to_label. Returns (num_labels, max(K, 1), T + 1) int64. One
    pass is enough for all thresholds because a pixel's strongest key does not depend on them. Raises UserError if sizes
    differ or labels are out of range.
    """
    if cams.shape[1:] != target.shape and len(keys):
        raise UserError(f"the CAMs are {cams.shape[1:]}, the mask {target.shape}", rule="expected equal sizes")
    if len(keys) != len(cams):
        raise UserError(f"{len(keys)} keys, {len(cams)} CAMs", rule="expected one key per CAM")
    _check_range(np.asarray(keys) + 1, num_labels, "CAM")
    levels = len(thresholds) + 1
    codes = target.astype(np.intp)
    if len(keys):
        value, strongest = strongest_class(cams, saliency, weight=saliency_weight, support=saliency_support)
        codes *= len(keys)
        codes += strongest
        codes *= levels
        codes += _exceeded(value, tuple(thresholds))
    else:
        codes *= levels
    shape = (256, max(len(keys), 1), levels)
    histogram = np.bincount(codes.ravel(), minlength=int(np.prod(shape))).reshape(shape)
    _check_range(np.flatnonzero(histogram[:IGNORE_INDEX].any(axis=(1, 2))), num_labels, "mask")
    return histogram[:num_labels]


def _exceeded(value: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """Count how many of the increasing thresholds each value exceeds. Equality does not count, as in to_label."""
    if value.dtype == np.uint8:
        return _exceeded_by_byte(thresholds)[value]
    kind = np.promote_types(value.dtype, np.float32)  # float16 is compared in float32, as published
    return np.searchsorted(np.asarray(thresholds, kind), value.astype(kind, copy=False), side="left")


@lru_cache(maxsize=8)
def _exceeded_by_byte(thresholds: tuple[float, ...]) -> np.ndarray:
    """Count the thresholds each uint8 value exceeds, (256,) uint8, with to_label so that rounding is identical."""
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 256)
    kept = [to_label(np.zeros(1, np.int64), ramp, threshold)[0] > 0 for threshold in thresholds]
    return np.stack(kept).sum(axis=0, dtype=np.uint8)


class ThresholdScores:
    """Sums of cam_histogram over images. thresholds (T,): increasing, in 0..1.

    counts (num_labels, num_labels, T + 1) int64: pixels by the mask's label, strongest label, and thresholds exceeded.
    """

    def __init__(self, num_labels: int, thresholds: Sequence[float]) -> None:
        self.num_labels = num_labels
        self.thresholds = tuple(float(threshold) for threshold in thresholds)
        rising = all(low < high for low, high in zip(self.thresholds, self.thresholds[1:]))
        if not self.thresholds or not rising or not 0 <= self.thresholds[0] <= self.thresholds[-1] <= 1:
            raise UserError(
                f"{list(self.thresholds)}", "--thresholds", "expected one or more in 0..1, increasing, none twice"
            )
        self.counts = np.zeros((num_labels, num_labels, len(self.thresholds) + 1), np.int64)

    def update(self, keys: np.ndarray, cams: np.ndarray, target: np.ndarray) -> None:
        """Add one image. Arguments and errors: see cam_histogram."""
        histogram = cam_histogram(keys, cams, target, num_labels=self.num_labels, thresholds=self.thresholds)
        self.add(keys, histogram)

    def add(self, keys: np.ndarray, histogram: np.ndarray) -> None:
        """Add one image's cam_histogram, which may come from another process."""
        labels = [int(key) + 1 for key in keys] or [0]
        for position, label in enumerate(labels):
            self.counts[:, label] += histogram[:, position]

    def confusion(self, index: int) -> ConfusionMatrix:
        """Return the confusion matrix at thresholds[index]."""
        above = self.counts[:, :, index + 1 :].sum(axis=2)
        above[:, 0] = self.counts.sum(axis=(1, 2)) - above[:, 1:].sum(axis=1)
        return ConfusionMatrix(self.num_labels, above)

    def scores(self) -> list[Scores]:
        """Compute the scores at each threshold."""
        return [self.confusion(index).scores() for index in range(len(self.thresholds))]


def scores_as_json(scores: Scores, classes: Sequence[str]) -> dict[str, Any]:
    """Convert scores to JSON with class names (`classes` without background); null for absent labels."""
    plain = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in vars(scores).items()}
    names = ("background", *classes)
    plain["class_iou"] = {n: None if math.isnan(v) else v for n, v in zip(names, scores.class_iou)}
    if note := absent_note(scores):
        plain["absent_classes_note"] = note
    return plain


def absent_note(scores: Scores) -> str:
    """Return the mean IoU by the other published conventions if classes are absent, else an empty text."""
    others = (scores.mean_iou_absent_as_zero, scores.mean_iou_of_masks)
    if math.isnan(scores.mean_iou) or all(other == scores.mean_iou for other in others):
        return ""
    return (
        f"classes are absent: mIoU is {others[0]:.3%} if each counts as 0 (published evaluate.py), "
        f"{others[1]:.3%} over only the classes in the masks (published DeepLab)"
    )


def print_class_iou(scores: Scores, classes: Sequence[str]) -> None:
    """Print a line per class, background first, and how absent classes affect the mean."""
    for name, iou in zip(("background", *classes), scores.class_iou):
        print(f"  {name:<16} {'absent' if math.isnan(iou) else f'{iou:.3%}'}")
    print(f"mIoU: {ABSENT_CLASSES}")
    if note := absent_note(scores):
        print(note)


def write_scores(path: Path, content: dict[str, Any]) -> None:
    """Write the scores atomically with the convention for absent classes, and print the path."""
    write_json(path, {"absent_classes": ABSENT_CLASSES, **content})
    print(f"written: {path}", file=sys.stderr)
