"""Judge a run's labels without masks: against tags, saliency, an earlier round, and the segmentation network.

python scripts/judge_labels.py --experiment_name=mine
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.own import JudgeLabelsOptions
    from utils.config.program import main

    main(JudgeLabelsOptions, "scripts.judge_labels")

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from utils.cam.labels import SALIENT
from utils.config.options.own import JudgeLabelsOptions
from utils.data.catalog import IGNORE_INDEX
from utils.data.dataset import Dataset
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import read_gray, read_label, resize_by_pil, write_label_png
from utils.data.label_check import unknown_labels
from utils.data.names_table import source_files
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.files.text import first_few
from utils.metrics import ConfusionMatrix, label_confusion
from utils.runs.handing_on import check_stored_classes
from utils.runs.inputs import check_present, open_run
from utils.runs.label_judgement import Figures, LabelJudgement, PhotoFigures, percent, write_label_judgement
from utils.runs.paths import RunPaths, pseudo_label_dir

OFTEN = 0.3  # warn if more than this fraction of a class's photos have no pixel of it
HARDLY = 0.1  # warn if the IoU between network and labels is below this
NETWORK_FOLDER = "network_masks"


@dataclass(frozen=True)
class _Job:
    """One image and its files, None if missing. network: path at which its mask is written at the image's size."""

    entry: ImageEntry
    label: Path
    saliency: Path | None
    first: Path | None
    prediction: Path | None
    network: Path


@dataclass(frozen=True)
class _Found:
    """One image's figures, and its confusion matrices with the first round and the network, (L, L) or None."""

    missing: tuple[int, ...]
    saliency: float | None
    rounds: np.ndarray | None
    network: np.ndarray | None


def run(options: JudgeLabelsOptions) -> Path:
    """Print a table and write runs/EXP/label_judgement.json, which the report and choose_to_annotate.py read.

    The network's masks, if given, are written to runs/EXP/network_masks with the labels' sizes and the images' names.
    Raises UserError with the remedy if labels are missing.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    trained = open_run(paths, options.dataset)
    data = trained.data
    listed = read_image_list(trained.train_list(None), len(data.classes))
    entries = [entry for entry in listed if entry.tags or entry.is_negative]
    names = [entry.name for entry in entries]
    label_dir = _folder(options.label_dir, "--label_dir") or pseudo_label_dir(data.name, options.experiment_name)
    first_dir = _folder(options.first_dir, "--first_dir")
    prediction_dir = _folder(options.prediction_dir, "--prediction_dir")
    remedy = f"run gen_gt.py --experiment_name {options.experiment_name} first, or check --label_dir and --first_dir"
    for folder in filter(None, (label_dir, first_dir)):
        check_present([folder / f"{name}.png" for name in names], "labels", remedy)
    for folder in filter(None, (label_dir, first_dir, prediction_dir)):
        check_stored_classes(folder, data.classes)
    sal_dir = trained.sal_dir(options.sal_dir)
    tagged = [entry.name for entry in entries if entry.tags]
    saliency = trained.saliency_files(tagged, options.sal_dir) if sal_dir else {}
    predictions = _predictions(names, prediction_dir, data) if prediction_dir else {}
    jobs = [
        _Job(
            entry,
            label_dir / f"{entry.name}.png",
            saliency.get(entry.name),
            first_dir / f"{entry.name}.png" if first_dir and entry.tags else None,
            predictions.get(entry.name),
            paths.root / NETWORK_FOLDER / f"{entry.name}.png",
        )
        for entry in entries
    ]
    look = partial(compare, num_labels=data.num_labels)
    found = list(parallel_map(look, jobs, num_workers=options.num_workers, description="judging labels"))
    places = {"labels": label_dir, "saliency": sal_dir, "first_round": first_dir, "network": prediction_dir}
    made_of = {name: None if place is None else str(place) for name, place in places.items()}
    judgement = judge(entries, found, data.classes, made_of=made_of)
    _print(judgement)
    return write_label_judgement(paths.root, judgement)


def _folder(given: str | None, option: str) -> Path | None:
    return existing_path(given, option) if given else None


def _predictions(names: Sequence[str], folder: Path, data: Dataset) -> dict[str, Path]:
    """Find the network's mask of each image: NAME.png, or, for own photos, the photo's path, as named by `predict`.

    Prints how many have none, such as photos from another folder (--negatives). Raises UserError if no image has one.
    """
    sources, files = source_files(data.root), {}
    for name in names:
        choices = [name]
        if name in sources:
            photo = PurePosixPath(sources[name])
            # predict keeps the suffix in the name if two photos only differ in it
            choices = [f"{photo.with_suffix('')}_{photo.suffix[1:]}", str(photo.with_suffix(""))]
        there = [path for choice in choices if (path := folder / f"{choice}.png").is_file()]
        if there:
            files[name] = there[0]
    if not files:
        raise UserError("contains no mask of an image in the training list", folder, remedy="check --prediction_dir")
    if len(files) < len(names):
        print(f"{len(names) - len(files)} images have no mask from the network")
    return files


def compare(job: _Job, *, num_labels: int) -> _Found:
    """Compute one image's figures. The network's mask, which has the photo's size, is scaled to the label's size."""
    label = read_label(job.label)
    if unknown := unknown_labels(label, num_labels):
        rule = f"expected labels in 0..{num_labels - 1}, or {IGNORE_INDEX}"
        raise UserError(f"contains {unknown[0]}", job.label, rule, "create the labels again")
    there = set(np.unique(label).tolist())
    missing = tuple(tag for tag in job.entry.tags if tag + 1 not in there)
    rounds = network = None
    if job.first is not None:
        rounds = _counts(read_label(job.first), label, num_labels, (job.first, job.label))
    if job.prediction is not None:
        mask = read_label(job.prediction)
        if mask.shape != label.shape:
            _check_shape(mask, label, job)
            mask = resize_by_pil(mask, label.shape, Image.Resampling.NEAREST)
        network = _counts(mask, label, num_labels, (job.prediction, job.label))
        write_label_png(job.network, mask)
    saliency = None if job.saliency is None else _agreement(label, np.asarray(read_gray(job.saliency)), job)
    return _Found(missing, saliency, rounds, network)


def _check_shape(mask: np.ndarray, label: np.ndarray, job: _Job) -> None:
    """Raise UserError unless mask and label are the same picture at two sizes, up to rounding."""
    (height, width), (small_height, small_width) = mask.shape, label.shape
    if abs(height * small_width - width * small_height) > max(height, width, small_height, small_width):
        what = f"is {width}x{height}, the label {small_width}x{small_height}"
        raise UserError(what, job.prediction or "", "expected the same photo", "run main.py predict again")


def _counts(prediction: np.ndarray, label: np.ndarray, num_labels: int, files: tuple[Path, Path]) -> np.ndarray:
    try:
        return label_confusion(prediction, label, num_labels=num_labels).matrix
    except UserError as error:
        raise error.at(f"{files[0]} against {files[1]}") from error


def _agreement(label: np.ndarray, saliency: np.ndarray, job: _Job) -> float | None:
    """Return the IoU between the label's objects and the salient pixels, without ignored ones; None if both empty."""
    if saliency.shape != label.shape:
        where = f"{job.saliency} against {job.label}"
        raise UserError(f"the map is {saliency.shape}, the label {label.shape}", where, "expected equal sizes")
    kept = label != IGNORE_INDEX
    objects, salient = (label > 0) & kept, (saliency > SALIENT) & kept
    either = np.count_nonzero(objects | salient)
    return np.count_nonzero(objects & salient) / either if either else None


def judge(
    entries: Sequence[ImageEntry], found: Sequence[_Found], classes: Sequence[str], *, made_of: Mapping[str, str | None]
) -> LabelJudgement:
    """Compute the figures of every photo, of every tagged class, and of all photos."""
    photos = tuple(
        PhotoFigures(
            entry.name,
            tuple(classes[tag] for tag in entry.tags),
            tuple(classes[tag] for tag in of_image.missing),
            of_image.saliency,
            _mean_iou(of_image.rounds),
            _mean_iou(of_image.network),
        )
        for entry, of_image in zip(entries, found, strict=True)
    )
    pooled = {kind: _pooled(getattr(one, kind) for one in found) for kind in ("rounds", "network")}
    iou = {kind: None if matrix is None else matrix.scores() for kind, matrix in pooled.items()}
    figures = {}
    for tag, name in enumerate(classes):
        having = [photo for photo in photos if name in photo.tags]
        if having:
            of_class = {kind: None if s is None else _known(s.class_iou[tag + 1]) for kind, s in iou.items()}
            missing = _mean([float(name in photo.missing) for photo in having])
            figures[name] = Figures(len(having), missing, _mean([photo.saliency for photo in having]), **of_class)
    tagged = [photo for photo in photos if photo.tags]
    overall = Figures(
        len(photos),
        _mean([float(bool(photo.missing)) for photo in tagged]),
        _mean([photo.saliency for photo in tagged]),
        **{kind: None if s is None else _known(s.mean_iou) for kind, s in iou.items()},
    )
    return LabelJudgement(made_of, overall, figures, photos, tuple(_warnings(figures, photos)))


def _pooled(matrices: Iterable[np.ndarray | None]) -> ConfusionMatrix | None:
    there = [matrix for matrix in matrices if matrix is not None]
    return ConfusionMatrix(len(there[0]), np.sum(there, axis=0)) if there else None


def _mean_iou(matrix: np.ndarray | None) -> float | None:
    return None if matrix is None else _known(ConfusionMatrix(len(matrix), matrix).scores().mean_iou)


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _warnings(figures: Mapping[str, Figures], photos: Sequence[PhotoFigures]) -> list[str]:
    """Return warnings with remedies."""
    warnings = []
    lost = {name: of_class for name, of_class in figures.items() if (of_class.missing or 0) > OFTEN}
    if lost:
        shares = first_few((f"{name} {percent(of_class.missing)}" for name, of_class in lost.items()), 10)
        some = first_few(photo.name for photo in photos if set(photo.missing) & set(lost))
        warnings.append(
            f"labels have no pixel of their tag in many photos of {shares} (e.g. {some}): inspect the heat maps in the "
            "report; if they are right, use a lower threshold, THRESHOLD=0.2 or gen_gt.py --threshold"
        )
    weak = [
        f"{name} {percent(of_class.network)}"
        for name, of_class in figures.items()
        if of_class.network is not None and of_class.network < HARDLY and (of_class.missing or 0) < 1
    ]
    if weak:
        warnings.append(
            f"the network hardly predicts {first_few(weak, 10)} (IoU with the labels): it needs more photos of them, "
            "or more epochs"
        )
    return warnings


def _print(judgement: LabelJudgement) -> None:
    width = max(len("class"), *map(len, judgement.classes)) if judgement.classes else len("class")
    print(f"  {'class'.ljust(width)}  photos  without a pixel  saliency  first round  network")
    for name, row in (*judgement.classes.items(), ("all", judgement.overall)):
        cells = zip((row.missing, row.saliency, row.rounds, row.network), (15, 8, 11, 7), strict=True)
        print(f"  {name.ljust(width)}  {row.photos:6d}  " + "  ".join(percent(value).rjust(n) for value, n in cells))
    print(judgement.summary())
    some = (f"{photo.name} ({photo.doubt:.2f})" for photo in judgement.most_doubtful())
    print(f"most doubtful (0 to 1): {first_few(some, 6)}")
    for warning in judgement.warnings:
        print(f"WARNING: {warning}")
