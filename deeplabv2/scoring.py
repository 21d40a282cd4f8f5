"""Scores labels against masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deeplabv2.logits import read_logits
from utils.data.images import read_label
from utils.data.label_check import MaskKinds, kind_of_mask
from utils.error_bars import PhotoMatrices, lines
from utils.errors import UserError
from utils.files.background import Background, in_background
from utils.files.locate import run_dir
from utils.metrics import ConfusionMatrix, Scores, print_class_iou, scores_as_json, write_scores

Pair = tuple[Path, Path]  # prediction and mask
Counts = tuple[np.ndarray, tuple[bool, bool]]  # confusion matrix and kind of mask


def label_of_logits(path: Path) -> np.ndarray:
    """Read the label (H, W) uint8 from a file of logits."""
    return read_logits(path).label()


class Scoring:
    """The scores of predictions against masks, see scoring."""

    def __init__(
        self, predictions: Mapping[str, Path], mask_dir: Path, num_labels: int, workers: Background[Pair, Counts]
    ) -> None:
        self._pairs = {name: (file, mask_dir / f"{name}.png") for name, file in predictions.items()}
        self._mask_dir, self._num_labels, self._workers = mask_dir, num_labels, workers

    def add(self, name: str) -> None:
        """Score one prediction, whose file exists. May be called in threads. Raises the error of an earlier one."""
        self._workers.add(self._pairs[name])

    def finish(self) -> tuple[Scores, PhotoMatrices]:
        """Score the predictions that were not added. Returns the scores of all, and each one's counts."""
        found = self._workers.finish(list(self._pairs.values()))
        total, kinds, photos = ConfusionMatrix(self._num_labels), MaskKinds(), PhotoMatrices(len(found))
        for name, (matrix, kind) in zip(self._pairs, found, strict=True):
            total += ConfusionMatrix(len(matrix), matrix)
            photos.add(name, matrix)
            kinds.add(kind)
        kinds.check(self._mask_dir)
        return total.scores(), photos


@contextmanager
def scoring(
    predictions: Mapping[str, Path],
    mask_dir: Path,
    num_workers: int,
    *,
    label_of: Callable[[Path], np.ndarray],
    num_labels: int,
) -> Iterator[Scoring]:
    """Score predictions (name -> file, read by label_of) against mask_dir/NAME.png, in processes beside the block."""
    count = partial(_count, label_of=label_of, num_labels=num_labels)
    with in_background(count, num_items=len(predictions), num_workers=num_workers, description="scoring") as workers:
        yield Scoring(predictions, mask_dir, num_labels, workers)


def _count(pair: Pair, *, label_of: Callable[[Path], np.ndarray], num_labels: int) -> Counts:
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
