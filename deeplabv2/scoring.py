"""Scores labels against masks."""

from collections import ChainMap
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
from utils.runtime.shared_work import SharedWork

Pair = tuple[Path, Path]  # prediction and mask
Counts = tuple[np.ndarray, tuple[bool, bool]]  # confusion matrix and kind of mask


def label_of_logits(path: Path) -> np.ndarray:
    """Read the label (H, W) uint8 from a file of logits."""
    return read_logits(path).label()


class Scoring:
    """The scores of predictions against masks, see scoring."""

    def __init__(
        self,
        predictions: Mapping[str, Path],
        mask_dir: Path,
        num_labels: int,
        workers: Background[Pair, Counts],
        work: SharedWork,
    ) -> None:
        self._pairs = {name: (file, mask_dir / f"{name}.png") for name, file in predictions.items()}
        self._mask_dir, self._num_labels, self._workers, self._work = mask_dir, num_labels, workers, work
        self._added: list[str] = []

    def add(self, name: str) -> None:
        """Score one prediction, whose file exists. May be called in threads. Raises the error of an earlier one."""
        self._workers.add(self._pairs[name])
        self._added.append(name)

    def finish(self) -> tuple[Scores, PhotoMatrices]:
        """Score the predictions that no process has added. All must exist.

        Returns the scores of all, and each one's counts, in the main process.
        """
        names = [*self._added, *self._work.remaining(list(self._pairs), self._added)]
        found = self._workers.finish([self._pairs[name] for name in names])
        total, kinds, photos = ConfusionMatrix(self._num_labels), MaskKinds(), PhotoMatrices(len(self._pairs))
        matrices: dict[str, list[list[int]]] = {}
        for name, (matrix, kind) in zip(names, found, strict=True):
            total += ConfusionMatrix(len(matrix), matrix)
            kinds.add(kind)
            if photos.are_kept:
                matrices[name] = matrix.tolist()
        self._work.add_up(total.matrix)
        MaskKinds.joined(self._work.gather(kinds.sums)).check(self._mask_dir)
        joined = ChainMap(*self._work.gather(matrices))
        for name in self._pairs:  # in their order, on which the bootstrap's draws depend
            if name in joined:
                photos.add(name, np.asarray(joined[name]))
        return total.scores(), photos


@contextmanager
def scoring(
    predictions: Mapping[str, Path],
    mask_dir: Path,
    num_workers: int,
    *,
    label_of: Callable[[Path], np.ndarray],
    num_labels: int,
    work: SharedWork,
) -> Iterator[Scoring]:
    """Score predictions (name -> file, read by label_of) against mask_dir/NAME.png, in processes beside the block.

    work: the processes of torchrun, which all call the same methods.
    """
    count = partial(_count, label_of=label_of, num_labels=num_labels)
    with in_background(
        count, num_items=len(predictions), num_workers=num_workers, description="scoring", **work.mapping
    ) as workers:
        yield Scoring(predictions, mask_dir, num_labels, workers, work)


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
