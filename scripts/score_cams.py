"""Score a run's CAMs, a folder of exported CAMs, or a folder of labels against masks."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.cam.artefact import read_cam
from utils.config.options import ScoreOptions
from utils.data.dataset import Dataset
from utils.data.image_list import read_image_list
from utils.data.images import read_label
from utils.files.atomic import atomic_path
from utils.files.locate import existing_path
from utils.files.npy_dict import read_npy_dict
from utils.files.parallel import parallel_map
from utils.metrics import (
    ConfusionMatrix,
    Scores,
    ThresholdScores,
    cam_histogram,
    label_confusion,
    print_class_iou,
    scores_as_json,
    write_scores,
)
from utils.runs.inputs import check_present, dataset_of_run
from utils.runs.paths import RunPaths, pseudo_label_dir

_SUFFIXES = {"cam": ".npz", "png": ".png", "npy": ".npy"}
_REMEDIES = {
    "cam": "run test_l2g.py --experiment_name {exp} first",
    "png": "run gen_gt.py --experiment_name {exp} first, or check --pred_dir",
    "npy": "run test_l2g.py --experiment_name {exp} --save_irn first, or check --pred_dir",
}


@dataclass(frozen=True)
class _Pair:
    """The files of one image."""

    name: str
    prediction: Path
    mask: Path


def run(options: ScoreOptions) -> Path:
    """Scores the predictions, prints a table and writes cam_scores.json (png: label_scores.json) into the run.

    Returns the JSON file. Raises FileNotFoundError that counts what is missing before any work starts.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    data = dataset_of_run(paths, options.dataset)
    folder = _prediction_dir(options, paths, data)
    pairs = _pairs(options, folder, data)
    facts = {"mode": options.mode, "pred_dir": str(folder), "dataset": data.name, "images": len(pairs)}
    if options.mode == "png":
        scores = _score_labels(pairs, num_labels=len(data.classes) + 1, num_workers=options.num_workers)
        return _write_label_scores(paths.label_scores, facts, scores, data)
    totals = ThresholdScores(len(data.classes) + 1, sorted(options.thresholds))
    count = partial(_count_cam, mode=options.mode, num_labels=totals.num_labels, thresholds=totals.thresholds)
    for keys, histogram in parallel_map(count, pairs, num_workers=options.num_workers, description="scoring CAMs"):
        totals.add(keys, histogram)
    return _write_cam_scores(paths.cam_scores, facts, totals, data)


def _prediction_dir(options: ScoreOptions, paths: RunPaths, data: Dataset) -> Path:
    if options.pred_dir is not None:
        return existing_path(options.pred_dir, "--pred_dir")
    labels = pseudo_label_dir(data.name, options.experiment_name)
    return {"cam": paths.cam_dir, "png": labels, "npy": paths.irn_dir}[options.mode]


def _pairs(options: ScoreOptions, folder: Path, data: Dataset) -> list[_Pair]:
    """Prediction and mask of every listed image, joined by the image's name."""
    mask_dir = existing_path(options.mask_dir, "--mask_dir") if options.mask_dir else data.mask_dir
    listing = existing_path(options.mask_list, "--mask_list") if options.mask_list else data.mask_list
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    pairs = [_Pair(name, folder / f"{name}{_SUFFIXES[options.mode]}", mask_dir / f"{name}.png") for name in names]
    check_present([pair.mask for pair in pairs], "masks", f"check --mask_dir and --mask_list ({listing})")
    remedy = _REMEDIES[options.mode].format(exp=options.experiment_name)
    check_present([pair.prediction for pair in pairs], "predictions", remedy)
    return pairs


def _count_cam(
    pair: _Pair, *, mode: str, num_labels: int, thresholds: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    keys, cams = read_cam(pair.prediction) if mode == "cam" else read_exported_cam(pair.prediction)
    mask = read_label(pair.mask)
    try:
        return keys, cam_histogram(keys, cams, mask, num_labels=num_labels, thresholds=thresholds)
    except ValueError as error:
        raise ValueError(f"{pair.prediction} against {pair.mask}: {error}") from None


def read_exported_cam(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based keys (K,) and CAMs (K, H, W) of a random-walk export.

    IRN: keys zero-based, high_res. AffinityNet and PuzzleCAM: keys with 0 for background first, hr_cam.
    Raises ValueError naming the file where it is neither.
    """
    content = read_npy_dict(path)
    keys = np.asarray(content.get("keys", ()))
    if "high_res" in content:
        cams = content["high_res"]
    elif "hr_cam" in content and keys.ndim == 1 and keys[:1].tolist() == [0]:
        keys, cams = keys[1:] - 1, content["hr_cam"]
    else:
        raise ValueError(f"{path} has entries {sorted(content)}: need keys and high_res, or keys from 0 and hr_cam")
    cams = np.asarray(cams)
    if keys.ndim != 1 or keys.dtype.kind not in "iu" or len(keys) != len(cams) or (len(keys) and cams.ndim != 3):
        raise ValueError(f"{path}: {keys.shape} keys and {cams.shape} CAMs: there must be one (H, W) map a key")
    return keys.astype(np.int64), cams


def _score_labels(pairs: list[_Pair], *, num_labels: int, num_workers: int) -> Scores:
    total = ConfusionMatrix(num_labels)
    count = partial(_count_labels, num_labels=num_labels)
    for matrix in parallel_map(count, pairs, num_workers=num_workers, description="scoring labels"):
        total += ConfusionMatrix(num_labels, matrix)
    return total.scores()


def _count_labels(pair: _Pair, *, num_labels: int) -> np.ndarray:
    prediction, mask = read_label(pair.prediction), read_label(pair.mask)
    try:
        return label_confusion(prediction, mask, num_labels=num_labels).matrix
    except ValueError as error:
        raise ValueError(f"{pair.prediction} against {pair.mask}: {error}") from None


def _write_cam_scores(path: Path, facts: dict[str, Any], totals: ThresholdScores, data: Dataset) -> Path:
    scores = totals.scores()
    table = [{"threshold": t, **scores_as_json(s, data.classes)} for t, s in zip(totals.thresholds, scores)]
    best = max(range(len(scores)), key=lambda i: -1 if math.isnan(scores[i].mean_iou) else scores[i].mean_iou)
    content = {**facts, "best_threshold": totals.thresholds[best], "best_mean_iou": table[best]["mean_iou"]}
    write_scores(path, {**content, "thresholds": table})
    _plot(path.with_suffix(".png"), totals.thresholds, scores, best)
    for threshold, score in zip(totals.thresholds, scores):
        print(
            f"Th={threshold:.2f}, mIoU={score.mean_iou:.3%}, "
            f"FP={score.false_positive_rate:.4f}, FN={score.false_negative_rate:.4f}"
        )
    print(f"Best Th={totals.thresholds[best]:.2f}, mIoU={scores[best].mean_iou:.3%}")
    print_class_iou(scores[best], data.classes)
    return path


def _write_label_scores(path: Path, facts: dict[str, Any], scores: Scores, data: Dataset) -> Path:
    write_scores(path, {**facts, **scores_as_json(scores, data.classes)})
    print(
        f"mIoU={scores.mean_iou:.3%}, pixel accuracy={scores.pixel_accuracy:.3%}, "
        f"FP={scores.false_positive_rate:.4f}, FN={scores.false_negative_rate:.4f}"
    )
    print_class_iou(scores, data.classes)
    return path


def _plot(path: Path, thresholds: tuple[float, ...], scores: list[Scores], best: int) -> None:
    from matplotlib.figure import Figure  # here: it takes a second, and the workers do not draw

    axes = (figure := Figure(figsize=(6, 4), layout="constrained")).add_subplot()
    miou = [100 * score.mean_iou for score in scores]
    axes.plot(thresholds, miou, marker="o")
    axes.axvline(thresholds[best], linestyle=":", color="gray")
    axes.set(
        xlabel="background threshold", ylabel="mIoU (%)", title=f"best {miou[best]:.2f} % at {thresholds[best]:.2f}"
    )
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
