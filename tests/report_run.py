"""Runs with records of every stage, for tests of the HTML report."""

import json
from pathlib import Path

import numpy as np

from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.cam.artefact import write_cam
from utils.config.options import TrainOptions
from utils.config.parser import save_options
from utils.data.catalog import IGNORE_INDEX
from utils.data.images import write_image, write_label_png


def scores(mean: float, **class_iou: float | None) -> dict:
    """The scores that evaluate.py writes for one set of predictions."""
    rates = ("pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "false_positive_rate", "false_negative_rate")
    return {"mean_iou": mean, **dict.fromkeys(rates, 0.5), "class_iou": class_iou}


def write_numbers(run: Path, *, gain: float = 0.0) -> None:
    """Write options, curves and scores. gain: this run's mIoU minus 0.5."""
    save_options(TrainOptions(experiment_name=run.name, epochs=2, lr=0.01 + gain), run / "config.yaml")
    (run / "versions.json").write_text('{"torch": "2.14.1"}')
    rows = [{"epoch": e, "step": 5 * (e + 1), "transfer": 2.0 - e, "active_tags": 0.5 + e / 4} for e in range(2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = [{"threshold": t, **scores(m + gain, background=0.9, cat=m, dog=None)} for t, m in ((0.3, 0.4), (0.5, 0.5))]
    facts = {"mode": "cam", "pred_dir": str(run / "cam"), "dataset": "toy", "images": 3}
    cams = {**facts, "best_threshold": 0.5, "best_mean_iou": 0.5 + gain, "thresholds": table}
    (run / "cam_scores.json").write_text(json.dumps(cams))
    labels = {**facts, "mode": "png", "pred_dir": "labels", **scores(0.625, background=0.8, cat=0.7, dog=0.375)}
    (run / "label_scores.json").write_text(json.dumps(labels))


def make_report_run(folder: Path) -> dict[str, str]:
    """Write small_run's run `exp` with scores and labels. Returns options.

    a: columns 0..3 are labelled cat, of which the mask has 0..2. b: correct, except for column 5, which is ignored.
    c: column 0 is labelled dog, where there is only background.
    """
    options = make_small_run(folder)
    write_numbers(folder / "runs" / "exp")
    a, b, c = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(3))
    a[:, :4], b[:, :3], b[:, 3:5], b[:, 5], c[:, 0] = 1, 1, 2, IGNORE_INDEX, 2
    for name, label in {"a": a, "b": b, "c": c}.items():
        write_label_png(folder / "labels" / f"{name}.png", label)
    return {**options, "label_dir": str(folder / "labels")}


def make_long_run(folder: Path, count: int, *, classes: tuple[str, ...]) -> dict[str, str]:
    """A run `long` of `count` images 16 pixels wide, tagged in turn with each class; image i's label is right on
    (i * 7) % count of `count` rows of its object, so that names and IoUs have different orders. Returns options."""
    data, run = folder / "data", folder / "runs" / "long"
    for index in range(count):
        name, tag = f"image_{index:03d}", index % len(classes)
        mask, label = (np.zeros((count, 16), np.uint8) for _ in range(2))
        mask[:, :8], label[: (index * 7) % count, :8] = tag + 1, tag + 1
        write_label_png(data / "SegmentationClass" / f"{name}.png", mask)
        write_label_png(folder / "labels" / f"{name}.png", label)
        write_image(data / "JPEGImages" / f"{name}.jpg", np.full((count, 16, 3), 4 * index % 256, np.uint8))
        write_cam(run / "cam" / f"{name}.npz", [tag], (mask > 0)[None] * np.uint8(255))
    (data / "classes.txt").write_text("\n".join(classes) + "\n")
    write_numbers(run)
    return {
        "experiment_name": "long",
        "runs_dir": str(folder / "runs"),
        "dataset": str(data),
        "label_dir": str(folder / "labels"),
    }
