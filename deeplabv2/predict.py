"""Label any photos, without masks -> OUT/{labels/NAME.png,overlays/NAME.jpg,summary.csv}."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.deployed import open_deployed, open_logits
from deeplabv2.labelling import Crf, LabelJob, labelling
from deeplabv2.logits import Missing
from deeplabv2.photos import photos_of
from deeplabv2.step_settings import PredictSettings
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, read_rgb, write_image
from utils.drawing import overlay_label
from utils.files.atomic import atomic_path
from utils.files.locate import existing_path
from utils.files.sources import digest_of, is_made_from
from utils.runtime.shared_work import SharedWork, share_work

SUMMARY = "summary.csv"

# names of the classes, name -> image, and the photos without logits
Opened = tuple[Sequence[str], dict[str, Path], AbstractContextManager[Missing]]


def run(settings: PredictSettings) -> Path:
    """Create the missing files in OUT and return the folder. Raises UserError for bad input.

    Labels and overlays are made while the network computes the logits of the next photos. torchrun distributes the
    photos.
    """
    photos, out_dir = settings.folders()
    out = Path(out_dir).expanduser().absolute()
    with share_work(out) as work:
        if settings.onnx is None:
            classes, files, opened = _trained(settings, photos, out)
        else:
            classes, files, opened = _exported(settings, settings.onnx, photos, out, work)
        crf = Crf.of(settings) if settings.crf else None
        draw, workers = partial(_draw, overlay_dir=out / "overlays"), settings.num_workers
        with labelling(
            files, out / "logits", out / "labels", crf, workers, classes=classes, work=work, option="--out", then=draw
        ) as labels:
            with opened as missing:
                labels.start()
                missing.compute(then=labels.add)
            counts = labels.finish()
    if work.is_main:
        write_summary(out / SUMMARY, counts, classes)
    return out


def _trained(settings: PredictSettings, photos: str, out: Path) -> Opened:
    from deeplabv2.inference import open_logits_in  # here: an exported network needs no torch

    classes = inputs.open_data(settings.DATASET).classes
    files = _photos(settings, photos, out)
    entries = [ImageEntry(name) for name in files]
    return classes, files, open_logits_in(out / "logits", settings, entries, files, classes)


def _exported(settings: PredictSettings, onnx: str, photos: str, out: Path, work: SharedWork) -> Opened:
    model = open_deployed(existing_path(onnx, "--onnx"), device=settings.SOLVER.DEVICE)
    files = _photos(settings, photos, out)
    opened = open_logits(
        model,
        files,
        out / "logits",
        work,
        batch_size=settings.SOLVER.BATCH_SIZE.TEST,
        may_replace=settings.overwrite,
        num_threads=settings.DATALOADER.NUM_WORKERS,
    )
    return model.classes, files, opened


def _photos(settings: PredictSettings, photos: str, out: Path) -> dict[str, Path]:
    """Name -> image of every photo."""
    without = [existing_path(settings.without, "--without")] if settings.without else []
    return photos_of(photos, out, without=without, num_workers=settings.num_workers)


def _draw(job: LabelJob, *, overlay_dir: Path) -> list[int]:
    """Draws the overlay, unless it is there -> pixels of each of 256 labels."""
    overlay = overlay_dir / f"{job.name}.jpg"
    label = read_label(job.label)
    if not is_made_from(overlay, job.image, job.label):
        drawn = overlay_label(np.asarray(read_rgb(job.image)), label)
        write_image(overlay, drawn, made_from=digest_of(job.image, job.label))
    return np.bincount(label.ravel(), minlength=256).tolist()


def write_summary(path: Path, counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Writes a table of a row per photo: its pixels, and the fraction of them of background and of each class.

    counts: name -> pixels of each label.
    """
    labels = ["background", *classes]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "pixels", *labels])
        for name, of_labels in counts.items():
            pixels = sum(of_labels)
            writer.writerow([name, pixels, *(f"{count / pixels:.6f}" for count in of_labels[: len(labels)])])
