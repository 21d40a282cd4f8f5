"""Scores labels against masks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from deeplabv2.logits import read_logits
from utils.data.images import read_label
from utils.data.label_check import MaskKinds, kind_of_mask
from utils.error_bars import PhotoMatrices, lines
from utils.errors import UserError
from utils.files.locate import run_dir
from utils.files.parallel import parallel_map
from utils.metrics import ConfusionMatrix, Scores, print_class_iou, scores_as_json, write_scores


def label_of_logits(path: Path) -> np.ndarray:
    """Read the label (H, W) uint8 from a file of logits."""
    return read_logits(path).label()


class Scoring:
    """Scores predictions (name -> file, read by label_of) against mask_dir/NAME.png, some of them before the others."""

    def __init__(
        self,
        predictions: Mapping[str, Path],
        mask_dir: Path,
        *,
        label_of: Callable[[Path], np.ndarray],
        num_labels: int,
    ) -> None:
        self.predictions, self.mask_dir = predictions, mask_dir
        self._count_of = partial(_count, label_of=label_of, num_labels=num_labels)
        self._total, self._kinds = ConfusionMatrix(num_labels), MaskKinds()
        self._photos = PhotoMatrices(len(predictions))
        self._counted: set[str] = set()
        self._lock = Lock()

    def count(self, name: str) -> None:
        """Score one prediction now. May be called in threads, once for each name."""
        self._add(name, self._count_of(self._pair(name)))

    def finish(self, num_workers: int) -> tuple[Scores, PhotoMatrices]:
        """Score the other predictions in processes. Returns the scores of all, and each one's counts."""
        others = [name for name in self.predictions if name not in self._counted]
        pairs = [self._pair(name) for name in others]
        found = parallel_map(self._count_of, pairs, num_workers=num_workers, description="scoring")
        for name, counts in zip(others, found):
            self._add(name, counts)
        self._kinds.check(self.mask_dir)
        self._photos.order(self.predictions)
        return self._total.scores(), self._photos

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self.predictions[name], self.mask_dir / f"{name}.png"

    def _add(self, name: str, counts: tuple[np.ndarray, tuple[bool, bool]]) -> None:
        matrix, kind = counts
        with self._lock:
            self._total += ConfusionMatrix(len(matrix), matrix)
            self._photos.add(name, matrix)
            self._kinds.add(kind)
            self._counted.add(name)


def _count(
    pair: tuple[Path, Path], *, label_of: Callable[[Path], np.ndarray], num_labels: int
) -> tuple[np.ndarray, tuple[bool, bool]]:
    prediction, mask = pair
    matrix = ConfusionMatrix(num_labels)
    label, target = label_of(prediction), read_label(mask)
    try:
        matrix.update(label, target)
    except UserError as error:
        raise error.at(f"{prediction} against {mask}") from error
    return matrix.matrix, kind_of_mask(target)


def report_scores(
    path: Path,
    scores: Scores,
    photos: PhotoMatrices,
    classes: Sequence[str],
    facts: Mapping[str, Any],
    *,
    experiment: str,
) -> Path:
    """Print a table and write it with the facts as JSON. classes: without background.

    experiment: its classifier's run may contain a sample of photos, whose weights give scores for all photos.
    """
    bars = photos.as_json(classes, run_dir(None, experiment))
    write_scores(path, {**facts, **scores_as_json(scores, classes), **bars})
    print(f"{'mIoU':<18} {scores.mean_iou:.3%}")
    print(f"{'pixel accuracy':<18} {scores.pixel_accuracy:.3%}")
    print(f"{'mean accuracy':<18} {scores.mean_accuracy:.3%}")
    print(f"{'frequency w. IoU':<18} {scores.frequency_weighted_iou:.3%}")
    print_class_iou(scores, classes)
    for line in lines(bars):
        print(line)
    return path
