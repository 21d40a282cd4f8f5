"""Score a run's CAMs, a folder of exported CAMs, or a folder of labels against masks; CAMs also against saliency."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from utils.cam.folders import CamFiles, CamFolder, Form
from utils.cam.labels import SALIENT, balanced_threshold, check_saliency_use
from utils.config.options import ScoreOptions
from utils.data.catalog import IGNORE_INDEX
from utils.data.dataset import Dataset
from utils.data.image_list import read_image_list
from utils.data.images import read_gray, read_label
from utils.data.label_check import MaskKinds, kind_of_mask
from utils.error_bars import PhotoMatrices, lines
from utils.errors import UserError
from utils.files.atomic import atomic_path, write_json
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.metrics import (
    ConfusionMatrix,
    Ignored,
    Scores,
    ThresholdScores,
    cam_histogram,
    ignored_pixels,
    label_confusion,
    print_class_iou,
    scores_as_json,
    write_scores,
)
from utils.plotting import line_chart, only_drawing
from utils.runs.handing_on import check_stored_classes, made_of
from utils.runs.inputs import Run, check_present, open_run
from utils.runs.paths import RunPaths, pseudo_label_dir
from utils.runtime.shared_work import SharedWork, share_work

# mode -> format of the folder's CAMs; None: that of its files
_FORMS: dict[str, Form | None] = {"cam": None, "attention": "attention", "npy": "npy", "rw": "npy"}
_REMEDIES = {
    "cam": "run test_l2g.py --experiment_name {exp} first, or check --pred_dir",
    "attention": "run test_l2g.py --experiment_name {exp} --save_attention first, or check --pred_dir",
    "npy": "run test_l2g.py --experiment_name {exp} --save_irn first, or check --pred_dir",
    "rw": "check --pred_dir",
    "png": "run gen_gt.py --experiment_name {exp} first, or check --pred_dir",
}

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class _Pair:
    """The files of one image: its label or its CAMs, and its mask. Without a mask, it is scored against saliency."""

    label: Path
    cams: CamFiles
    mask: Path | None
    saliency: Path | None


def run(options: ScoreOptions) -> Path:
    """Score the predictions, print a table and write cam_scores.json (png: label_scores.json) into the run.

    Without masks, or with reference=saliency, CAMs are compared with saliency and cam_agreement.json is written.
    Returns the JSON file. Under torchrun the images are distributed over the processes. Raises UserError with the
    number of missing files before any work starts.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    trained = open_run(paths, options.dataset)
    data = trained.data
    folder = _prediction_dir(options, paths, data)
    check_stored_classes(folder, data.classes)
    check_saliency_use(options.saliency_weight, options.saliency_support)
    by_saliency = _reference(options, data) == "saliency"
    pairs = _pairs(options, folder, trained, by_saliency=by_saliency)
    facts = {"mode": options.mode, "pred_dir": str(folder), "dataset": data.name, "images": len(pairs)}
    if options.mode != "png":
        facts["made_of"] = made_of(paths.cam_dir if folder == paths.attention_dir else folder)
    with share_work(paths.root) as work:
        if by_saliency:
            totals = _count_unions(work, options, pairs)
        elif options.mode == "png":
            counted = _count_all_labels(work, pairs, num_labels=data.num_labels, num_workers=options.num_workers)
        else:
            totals, of_photo = _count_cams(work, options, pairs, num_labels=data.num_labels)
    written = paths.cam_agreement if by_saliency else paths.label_scores if options.mode == "png" else paths.cam_scores
    if not work.is_main:
        return written
    if by_saliency:
        facts["saliency_support"] = options.saliency_support
        return _write_agreement(written, facts, totals, saliency_weight=options.saliency_weight)
    if options.mode == "png":
        scores, ignored, photos = counted
        bars = photos.as_json(data.classes, paths.root)
        return _write_label_scores(written, facts, scores, ignored, bars, data)
    facts |= {"saliency_weight": options.saliency_weight, "saliency_support": options.saliency_support}
    scores_at = totals.scores()
    best = max(range(len(scores_at)), key=lambda i: -1 if math.isnan(scores_at[i].mean_iou) else scores_at[i].mean_iou)
    photos = PhotoMatrices(len(of_photo))
    for name, (keys, histogram) in of_photo.items():
        counts = ThresholdScores(data.num_labels, totals.thresholds)
        counts.add(keys, histogram)
        photos.add(name, counts.confusion(best).matrix)
    bars = photos.as_json(data.classes, paths.root)
    return _write_cam_scores(written, facts, totals.thresholds, scores_at, best, bars, data)


def _count_cams(
    work: SharedWork, options: ScoreOptions, pairs: Sequence[_Pair], *, num_labels: int
) -> tuple[ThresholdScores, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Count every image's pixels. Returns the sums, and name -> (keys, counts) if there are few images.

    All processes count, the main one has the result.
    """
    totals, kinds, counted = ThresholdScores(num_labels, sorted(options.thresholds)), MaskKinds(), []
    count = partial(
        _count_cam,
        num_labels=num_labels,
        thresholds=totals.thresholds,
        saliency_weight=options.saliency_weight,
        saliency_support=options.saliency_support,
    )
    are_few = PhotoMatrices(len(pairs)).are_kept
    for keys, histogram, kind in _map(work, count, pairs, options.num_workers, "scoring CAMs"):
        totals.add(keys, histogram)
        kinds.add(kind)
        if are_few:
            counted.append((keys.tolist(), histogram.tolist()))
    work.add_up(totals.counts)
    _check_kinds(work, kinds, pairs)
    joined = work.gather_items(counted)
    return totals, {
        pair.cams.name: (np.asarray(keys), np.asarray(histogram)) for pair, (keys, histogram) in zip(pairs, joined)
    }


def _map(
    work: SharedWork,
    function: Callable[[_Pair], ResultT],
    pairs: Sequence[_Pair],
    num_workers: int,
    description: str,
) -> Iterator[ResultT]:
    """Map a function over this process's pairs."""
    return parallel_map(function, work.own(pairs), num_workers=num_workers, description=description, **work.mapping)


def _check_kinds(work: SharedWork, kinds: MaskKinds, pairs: Sequence[_Pair]) -> None:
    """Check in the main process that some mask of any process contains an object. Raises UserError."""
    mask = pairs[0].mask
    assert mask is not None
    MaskKinds.joined(work.gather(kinds.sums)).check(mask.parent)


def _reference(options: ScoreOptions, data: Dataset) -> str:
    """Return what the predictions are scored against: masks or saliency."""
    if options.reference is not None:
        return options.reference
    masked = options.mode == "png" or options.mask_list is not None or data.mask_list.is_file()
    return "masks" if masked else "saliency"


def _count_unions(work: SharedWork, options: ScoreOptions, pairs: Sequence[_Pair]) -> ThresholdScores:
    """Compare the union of each image's CAMs, as one class, with its salient pixels. The main process has the sums."""
    totals = ThresholdScores(2, sorted(options.thresholds))
    count = partial(_count_union, thresholds=totals.thresholds)
    for keys, histogram in _map(work, count, pairs, options.num_workers, "comparing CAMs with saliency"):
        totals.add(keys, histogram)
    work.add_up(totals.counts)
    return totals


def _write_agreement(path: Path, facts: dict[str, Any], totals: ThresholdScores, *, saliency_weight: float) -> Path:
    """Write cam_agreement.json from the union of an image's CAMs against its salient pixels.

    The threshold of the best agreement is near the best one for masks (see docs/results.md), but needs no masks.
    """
    agreement = [score.class_iou[1] for score in totals.scores()]
    best = max(range(len(agreement)), key=lambda i: -1 if math.isnan(agreement[i]) else agreement[i])
    alone, weight = totals.thresholds[best], saliency_weight
    chosen = {"best_threshold": balanced_threshold(alone, weight), "saliency_weight": weight}
    table = [{"threshold": t, "iou": None if math.isnan(v) else v} for t, v in zip(totals.thresholds, agreement)]
    best_of_cams = {"best_threshold_of_cams": alone, "best_agreement": table[best]["iou"]}
    write_json(path, {**facts, **chosen, **best_of_cams, "thresholds": table})
    print(f"written: {path}", file=sys.stderr)
    for threshold, value in zip(totals.thresholds, agreement):
        print(f"Th={threshold:.2f}, IoU with saliency={value:.3%}")
    print(f"Best Th={alone:.2f}; threshold of labels with saliency_weight={weight:g}: {chosen['best_threshold']:g}")
    return path


def _prediction_dir(options: ScoreOptions, paths: RunPaths, data: Dataset) -> Path:
    if options.pred_dir is not None:
        return existing_path(options.pred_dir, "--pred_dir")
    if options.mode == "png":
        return pseudo_label_dir(data.name, options.experiment_name)
    if options.mode in ("cam", "attention"):
        return paths.cam_dir if options.mode == "cam" else paths.attention_dir
    exports = (paths.irn_dir, paths.affinity_dir, paths.psa_dir)
    return next((folder for folder in exports if any(folder.glob("*.npy"))), paths.irn_dir)


def _pairs(options: ScoreOptions, folder: Path, trained: Run, *, by_saliency: bool) -> list[_Pair]:
    """Return prediction and mask, saliency or both of every listed image, matched by name."""
    data = trained.data
    if by_saliency and options.mask_list is None:
        listing = trained.train_list(None)
    else:
        listing = data.named_list(options.mask_list, "--mask_list") if options.mask_list else data.mask_list
    entries = read_image_list(listing, len(data.classes))
    # negatives have no CAMs that could agree with saliency
    names = [entry.name for entry in entries if not (by_saliency and entry.is_negative)]
    source = CamFolder.open(folder, _FORMS.get(options.mode))
    labels, cams = {name: folder / f"{name}.png" for name in names}, {name: source.files(name) for name in names}
    predictions = [*labels.values()] if options.mode == "png" else [p for files in cams.values() for p in files.paths]
    masks: dict[str, Path] = {}
    if not by_saliency:
        mask_dir = existing_path(options.mask_dir, "--mask_dir") if options.mask_dir else data.mask_dir
        masks = {name: mask_dir / f"{name}.png" for name in names}
        check_present(masks.values(), "masks", f"check --mask_dir and --mask_list ({listing})")
    check_present(predictions, "predictions", _REMEDIES[options.mode].format(exp=options.experiment_name))
    saliency: dict[str, Path] = {}
    if by_saliency or options.saliency_weight > 0:
        saliency = trained.saliency_files(names, options.sal_dir)
    return [_Pair(labels[name], cams[name], masks.get(name), saliency.get(name)) for name in names]


def _count_cam(
    pair: _Pair, *, num_labels: int, thresholds: tuple[float, ...], saliency_weight: float, saliency_support: float
) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool]]:
    assert pair.mask is not None
    mask = read_label(pair.mask)
    if (size := pair.cams.size()) and len(pair.cams.keys()) and size != mask.shape:  # before decompressing them
        where = f"{pair.cams.paths[0]} against {pair.mask}"
        raise UserError(f"the CAMs are {size}, the mask {mask.shape}", where, "expected equal sizes")
    keys, cams = pair.cams.read()
    saliency = np.asarray(read_gray(pair.saliency)) if pair.saliency else None
    try:
        histogram = cam_histogram(
            keys,
            cams,
            mask,
            num_labels=num_labels,
            thresholds=thresholds,
            saliency=saliency,
            saliency_weight=saliency_weight,
            saliency_support=saliency_support,
        )
    except UserError as error:
        raise error.at(f"{pair.cams.paths[0]} against {pair.mask}") from error
    return keys, histogram, kind_of_mask(mask)


def _count_union(pair: _Pair, *, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Score the strongest CAM of any class as a single class against the salient pixels."""
    assert pair.saliency is not None
    keys, cams = pair.cams.read()
    salient = (np.asarray(read_gray(pair.saliency)) > SALIENT).astype(np.uint8)
    union = cams.max(axis=0, keepdims=True) if len(keys) else cams
    if union.shape[1:] != salient.shape:
        raise UserError(
            f"the CAMs are {union.shape[1:]} and the saliency map {salient.shape}",
            pair.cams.paths[0],
            "both must have the image's size",
            f"create {pair.saliency} again (scripts/make_saliency.py), or check --sal_dir",
        )
    one = np.zeros(len(union), np.int64)
    return one, cam_histogram(one, union, salient, num_labels=2, thresholds=thresholds)


def _count_all_labels(
    work: SharedWork, pairs: Sequence[_Pair], *, num_labels: int, num_workers: int
) -> tuple[Scores, Ignored, PhotoMatrices]:
    """Return the scores, the effect of the labels' ignored pixels on them, and the counts of each image.

    All processes count, the main one has the result.
    """
    total, missing, kinds = ConfusionMatrix(num_labels), np.zeros(num_labels, np.int64), MaskKinds()
    photos, counted = PhotoMatrices(len(pairs)), []
    count = partial(_count_labels, num_labels=num_labels)
    for matrix, left_out, kind in _map(work, count, pairs, num_workers, "scoring labels"):
        total += ConfusionMatrix(num_labels, matrix)
        missing += left_out
        kinds.add(kind)
        if photos.are_kept:
            counted.append(matrix.tolist())
    work.add_up(total.matrix)
    work.add_up(missing)
    _check_kinds(work, kinds, pairs)
    for pair, matrix in zip(pairs, work.gather_items(counted)):
        photos.add(pair.cams.name, np.asarray(matrix))
    return total.scores(), ignored_pixels(total, missing), photos


def _count_labels(pair: _Pair, *, num_labels: int) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool]]:
    """Return the confusion matrix, pixels per label that only the prediction ignores, and the mask's kind."""
    assert pair.mask is not None
    prediction, mask = read_label(pair.label), read_label(pair.mask)
    try:
        matrix = label_confusion(prediction, mask, num_labels=num_labels).matrix
    except UserError as error:
        raise error.at(f"{pair.label} against {pair.mask}") from error
    missing = np.bincount(mask[prediction == IGNORE_INDEX], minlength=256)[:num_labels]
    return matrix, missing, kind_of_mask(mask)


def _write_cam_scores(
    path: Path,
    facts: dict[str, Any],
    thresholds: tuple[float, ...],
    scores: list[Scores],
    best: int,
    bars: dict[str, Any],
    data: Dataset,
) -> Path:
    table = [{"threshold": t, **scores_as_json(s, data.classes)} for t, s in zip(thresholds, scores)]
    content = {**facts, "best_threshold": thresholds[best], "best_mean_iou": table[best]["mean_iou"], **bars}
    write_scores(path, {**content, "thresholds": table})
    with only_drawing(path.with_suffix(".png")):
        _plot(path.with_suffix(".png"), thresholds, scores, best)
    for threshold, score in zip(thresholds, scores):
        print(
            f"Th={threshold:.2f}, mIoU={score.mean_iou:.3%}, "
            f"FP={score.false_positive_rate:.4f}, FN={score.false_negative_rate:.4f}"
        )
    print(f"Best Th={thresholds[best]:.2f}, mIoU={scores[best].mean_iou:.3%}")
    print_class_iou(scores[best], data.classes)
    _print_bars(bars)
    return path


def _print_bars(bars: dict[str, Any]) -> None:
    for line in lines(bars):
        print(line)


def _write_label_scores(
    path: Path, facts: dict[str, Any], scores: Scores, ignored: Ignored, bars: dict[str, Any], data: Dataset
) -> Path:
    write_scores(path, {**facts, **scores_as_json(scores, data.classes), **ignored._asdict(), **bars})
    print(
        f"mIoU={scores.mean_iou:.3%}, pixel accuracy={scores.pixel_accuracy:.3%}, "
        f"FP={scores.false_positive_rate:.4f}, FN={scores.false_negative_rate:.4f}"
    )
    print_class_iou(scores, data.classes)
    if ignored.ignored_fraction > 0:
        print(
            f"ignored by the labels and excluded above: {ignored.ignored_fraction:.2%} of the pixels; "
            f"mIoU {ignored.mean_iou_ignored_as_wrong:.3%} if they count as wrong"
        )
    _print_bars(bars)
    return path


def _plot(path: Path, thresholds: tuple[float, ...], scores: list[Scores], best: int) -> None:
    miou = [100 * score.mean_iou for score in scores]
    title = f"best {miou[best]:.2f} % at {thresholds[best]:.2f}"
    names = {"x_label": "background threshold", "y_label": "mIoU (%)"}
    chart = line_chart(thresholds, miou, marked=thresholds[best], title=title, **names)
    with atomic_path(path) as temporary:
        chart.save(temporary)
