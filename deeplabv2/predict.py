"""Label any photos, without masks -> OUT/{labels/NAME.png,overlays/NAME.jpg,summary.csv}."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.crf import Crf, refine_all
from deeplabv2.deployed import make_logits, open_deployed
from deeplabv2.photos import photos_of
from deeplabv2.step_settings import PredictSettings
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, read_rgb, write_image
from utils.drawing import overlay_label
from utils.files.atomic import atomic_path
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, is_made_from

SUMMARY = "summary.csv"


@dataclass(frozen=True)
class _Job:
    """The files of one photo."""

    name: str
    image: Path
    label: Path
    overlay: Path


def run(settings: PredictSettings) -> Path:
    """Create the missing files in OUT and return the folder. Raises UserError for bad input."""
    photos, out_dir = settings.folders()
    out = Path(out_dir).expanduser().absolute()
    logits_dir = out / "logits"
    classes: Sequence[str]
    if settings.onnx is None:
        from deeplabv2.inference import make_logits_in  # here: an exported network needs no torch

        classes = inputs.open_data(settings.DATASET).classes
        files = _photos(settings, photos, out)
        if not make_logits_in(logits_dir, settings, [ImageEntry(name) for name in files], files, classes):
            return out
    else:
        model = open_deployed(existing_path(settings.onnx, "--onnx"), device=settings.SOLVER.DEVICE)
        classes = model.classes
        files = _photos(settings, photos, out)
        make_logits(
            model,
            files,
            logits_dir,
            batch_size=settings.SOLVER.BATCH_SIZE.TEST,
            may_replace=settings.overwrite,
            num_threads=settings.DATALOADER.NUM_WORKERS,
        )
    crf = Crf.of(settings) if settings.crf else None
    labels = refine_all(
        list(files), files, logits_dir, out / "labels", crf, settings.num_workers, classes=classes, option="--out"
    )
    jobs = [_Job(name, files[name], label, out / "overlays" / f"{name}.jpg") for name, label in labels.items()]
    counts = list(parallel_map(_draw, jobs, num_workers=settings.num_workers, description="overlays"))
    write_summary(out / SUMMARY, dict(zip(labels, counts)), classes)
    return out


def _photos(settings: PredictSettings, photos: str, out: Path) -> dict[str, Path]:
    """Name -> image of every photo."""
    without = [existing_path(settings.without, "--without")] if settings.without else []
    return photos_of(photos, out, without=without, num_workers=settings.num_workers)


def _draw(job: _Job) -> np.ndarray:
    """Draws the overlay, unless it is there -> pixels of each label, (256,)."""
    label = read_label(job.label)
    if not is_made_from(job.overlay, job.image, job.label):
        drawn = overlay_label(np.asarray(read_rgb(job.image)), label)
        write_image(job.overlay, drawn, made_from=digest_of(job.image, job.label))
    return np.bincount(label.ravel(), minlength=256)


def write_summary(path: Path, counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Writes a table of a row per photo: its pixels, and the fraction of them of background and of each class.

    counts: name -> pixels of each label.
    """
    labels = ["background", *classes]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "pixels", *labels])
        for name, of_labels in counts.items():
            pixels = int(of_labels.sum())
            writer.writerow([name, pixels, *(f"{count / pixels:.6f}" for count in of_labels[: len(labels)])])
