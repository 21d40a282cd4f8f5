"""Make pseudo labels, palette PNGs at the image's size, from a run's CAMs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from utils.cam.artefact import read_cam
from utils.cam.labels import to_label
from utils.config.options import LabelOptions
from utils.crf.dense import refine_label
from utils.crf.strengths import CAM_CONFIDENCE, CAM_CRF
from utils.data.catalog import IGNORE_INDEX
from utils.data.dataset import Dataset
from utils.data.image_list import read_image_list
from utils.data.images import image_or_guess, read_rgb, write_label_png
from utils.files.manifest import FolderSettings, is_current
from utils.files.parallel import parallel_map
from utils.files.text import first_few
from utils.runs.inputs import check_present, dataset_of_run, image_dir_of_run, train_list_of_run
from utils.runs.paths import RunPaths, pseudo_label_dir

SETTINGS_FILE = "label_settings.json"


@dataclass(frozen=True)
class _Job:
    """The files of one image."""

    name: str
    cam: Path
    image: Path
    label: Path


def run(options: LabelOptions) -> Path:
    """Makes the labels that are not there yet and returns their folder.

    Raises ValueError or FileNotFoundError, before any label is written, where CAMs or images are missing, their
    sizes differ, or the folder holds labels that were made with other settings.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    data = dataset_of_run(paths, options.dataset)
    threshold = _best_threshold(paths) if options.threshold is None else options.threshold
    _check_band(threshold, options.ignore_below)
    if options.label_dir is None:
        folder = pseudo_label_dir(data.name, options.experiment_name)
    else:
        folder = Path(options.label_dir).absolute()
    settings = {
        "cams": str(paths.cam_dir),
        "threshold": threshold,
        "ignore_below": options.ignore_below,
        "crf": {**CAM_CRF, "confidence": CAM_CONFIDENCE} if options.crf else None,
    }
    jobs = _jobs(options, paths, data, folder)
    record = FolderSettings(folder / SETTINGS_FILE, "*.png", "labels", "gen_gt.py", "--label_dir")
    renewed = record.check(settings, may_replace=options.overwrite or options.update)
    todo = [job for job in jobs if options.overwrite or renewed or not is_current(job.label, job.cam)]
    _check_sizes(todo, num_workers=options.num_workers)
    if todo:
        record.start(settings)
    make = partial(_make_label, threshold=threshold, ignore_below=options.ignore_below, crf=options.crf)
    for _ in parallel_map(make, todo, num_workers=options.num_workers, description="making labels"):
        pass
    print(f"{len(todo)} labels made, {len(jobs) - len(todo)} kept, threshold {threshold:g}: {folder}", file=sys.stderr)
    return folder


def _best_threshold(paths: RunPaths) -> float:
    """The threshold that evaluate.py found for this run's own CAMs."""
    remedy = f"run evaluate.py --experiment_name {paths.root.name} first, or give --threshold"
    if not paths.cam_scores.is_file():
        raise FileNotFoundError(f"{paths.cam_scores}: no best threshold is stored: {remedy}")
    scores = json.loads(paths.cam_scores.read_text())
    if Path(scores["pred_dir"]).resolve() != paths.cam_dir.resolve():
        raise ValueError(f"{paths.cam_scores} is of {scores['pred_dir']} and not of this run's CAMs: {remedy}")
    return scores["best_threshold"]


def _check_band(threshold: float, ignore_below: float | None) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold={threshold}: CAMs lie in 0..1, and so must the threshold")
    if ignore_below is not None and not 0 <= ignore_below < threshold:
        raise ValueError(
            f"--ignore_below={ignore_below}: the ignore band ends at the threshold: give 0 or more, under {threshold}"
        )


def _jobs(options: LabelOptions, paths: RunPaths, data: Dataset, folder: Path) -> list[_Job]:
    """The files of every listed image, joined by its name."""
    listing = train_list_of_run(paths, data, image_list=options.image_list, dataset=options.dataset)
    image_dir = image_dir_of_run(paths, data, image_dir=options.image_dir, dataset=options.dataset)
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    cams = {name: paths.cam_dir / f"{name}.npz" for name in names}
    check_present(cams.values(), "CAMs", f"run test_l2g.py --experiment_name {paths.root.name} first ({listing})")
    images = {name: image_or_guess(image_dir, name) for name in names}
    check_present(images.values(), "images", f"check --image_dir and the list ({listing})")
    return [_Job(name, cams[name], images[name], folder / f"{name}.png") for name in names]


def _check_sizes(jobs: Sequence[_Job], *, num_workers: int) -> None:
    problems = parallel_map(_size_problem, jobs, num_workers=num_workers, description="checking sizes")
    wrong = [problem for problem in problems if problem]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(jobs)} CAMs have another size than their image: {first_few(wrong)}: "
            "check --image_dir, or run test_l2g.py --overwrite with these images"
        )


def _size_problem(job: _Job) -> str | None:
    _, cams = read_cam(job.cam)
    with Image.open(job.image) as image:  # reads the header only
        width, height = image.size
    if cams.shape[1:] == (height, width):
        return None
    return f"{job.name} (CAM {cams.shape[2]}x{cams.shape[1]}, image {width}x{height})"


def _make_label(job: _Job, *, threshold: float, ignore_below: float | None, crf: bool) -> None:
    keys, cams = read_cam(job.cam)
    image = np.asarray(read_rgb(job.image)) if crf else None
    label = _label_at(keys, cams, image, threshold)
    if ignore_below is not None:
        # sure of an object by the upper threshold, of background by the lower one, and of nothing between
        lower = _label_at(keys, cams, image, ignore_below)
        label = np.where((label == 0) & (lower != 0), np.uint8(IGNORE_INDEX), label)
    write_label_png(job.label, label)


def _label_at(keys: np.ndarray, cams: np.ndarray, image: np.ndarray | None, threshold: float) -> np.ndarray:
    label = to_label(keys, cams, threshold)
    return label if image is None else refine_label(image, label)
