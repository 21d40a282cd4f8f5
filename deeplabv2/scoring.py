"""Scores labels against masks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
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


def score_files(
    predictions: Mapping[str, Path],
    mask_dir: Path,
    *,
    label_of: Callable[[Path], np.ndarray],
    num_labels: int,
    num_workers: int,
) -> tuple[Scores, PhotoMatrices]:
    """Score predictions (name -> file, read by label_of) against mask_dir/NAME.png. Also returns each one's counts."""
    total, photos = ConfusionMatrix(num_labels), PhotoMatrices(len(predictions))
    pairs = [(path, mask_dir / f"{name}.png") for name, path in predictions.items()]
    count = partial(_count, label_of=label_of, num_labels=num_labels)
    kinds = MaskKinds()
    work = parallel_map(count, pairs, num_workers=num_workers, description="scoring")
    for name, (matrix, kind) in zip(predictions, work):
        total += ConfusionMatrix(num_labels, matrix)
        photos.add(name, matrix)
        kinds.add(kind)
    kinds.check(mask_dir)
    return total.scores(), photos


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
