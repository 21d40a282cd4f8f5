"""L2G learns objects from tags and saliency: its pseudo labels are better than chance and a plain classifier's CAMs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from scripts import make_cams, make_labels, score_cams, train
from utils.config.options import CamOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import parse_options
from utils.data.image_list import read_image_list
from utils.data.images import read_label, write_image, write_label_png
from utils.metrics import ConfusionMatrix

SIDE, IMAGES = 96, 48
SMALL = {
    "resize": 64, "input_size": 64, "crop_size": 48, "num_patches": 4, "cam_base_size": 64, "cam_scales": "1,1.5",
    "width": 0.0625, "frozen_stages": 0, "freeze_batch_norm": "false", "dropout": "0,0", "flip": 0.5,
    "color_jitter": "0,0,0,0", "kd_loss": "balanced", "kd_weight": 1, "background_target": "complement",
    "cam_activation": "softmax", "optimizer": "adamw", "lr": 0.002, "new_lr_factor": 1, "weight_decay": 0.001,
    "clip_grad": 5, "schedule": "poly", "epochs": 12, "batch_size": 8,
}  # fmt: skip
ABOVE_CHANCE, ABOVE_PLAIN = 0.2, 0.05
COLOURS = ((220, 40, 40), (40, 190, 60), (50, 70, 230))  # of the classes' marks


def make_marked_objects(folder: Path) -> Path:
    """Dataset `marked`: one or two grey elongated objects on noise per image, distinguished only by a coloured end.

    A classifier only needs the ends; masks and saliency show the complete objects.
    """
    rng, data, lines = np.random.default_rng(0), folder / "marked", []
    for number in range(IMAGES):
        image = cv2.resize(rng.integers(60, 200, (12, 12, 3), dtype=np.uint8), (SIDE, SIDE)).astype(int)
        mask, tags = np.zeros((SIDE, SIDE), np.uint8), [number % 3]
        if number % 4 == 3:
            tags.append((number + 1) % 3)
        for place, tag in enumerate(tags):
            draw_object(image, mask, tag, centre=centre_of(rng, place, len(tags)), rng=rng)
        image = (image + rng.integers(-12, 13, image.shape)).clip(0, 255).astype(np.uint8)
        name = f"m{number:02d}"
        write_image(data / "JPEGImages" / f"{name}.png", image)
        write_image(data / "Sal" / f"{name}.png", (mask > 0) * np.uint8(255))
        write_label_png(data / "SegmentationClass" / f"{name}.png", mask)
        lines.append(" ".join([name, *map(str, sorted(tags))]))
    (data / "classes.txt").write_text("red\ngreen\nblue\n")
    (data / "train_cls.txt").write_text("\n".join(lines) + "\n")
    (data / "train.txt").write_text("".join(f"{line.split()[0]}\n" for line in lines))
    return data


def centre_of(rng: np.random.Generator, place: int, count: int) -> tuple[int, int]:
    """x, y: anywhere inside for one object, above and below for two."""
    x = int(rng.integers(36, SIDE - 36))
    return (x, int(rng.integers(30, SIDE - 30))) if count == 1 else (x, SIDE // 4 + place * SIDE // 2)


def draw_object(
    image: np.ndarray, mask: np.ndarray, tag: int, *, centre: tuple[int, int], rng: np.random.Generator
) -> None:
    """A roughly horizontal ellipse with a disc in the class's colour at its left or right end."""
    angle, long, short = float(rng.uniform(-25, 25)), int(rng.integers(26, 34)), int(rng.integers(12, 17))
    body = np.zeros_like(mask)
    cv2.ellipse(body, centre, (long, short), angle, 0, 360, 1, -1)
    stripes = 25 * np.sin(np.arange(SIDE) / 2)[None, :, None]
    image[body > 0] = (120 + stripes + np.zeros((SIDE, SIDE, 3)))[body > 0]
    end = rng.choice((-1, 1)) * 0.6 * long * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    disc = np.zeros_like(mask)
    cv2.circle(disc, tuple(int(v) for v in np.round(centre + end)), 8, 1, -1)
    image[(disc & body) > 0] = COLOURS[tag]
    mask[body > 0] = tag + 1


def score_of_labels(data: Path, name: str, *flags: str, seed: int = 0) -> float:
    """Train, compute CAMs and pseudo labels, and return the labels' mIoU on the training images."""
    run = [f"--experiment_name={name}", f"--runs_dir={data.parent / 'runs'}"]
    machine = ["--num_workers=0", "--device=cpu"]
    settings = [f"--dataset={data}", f"--seed={seed}", *(f"--{key}={value}" for key, value in SMALL.items())]
    train.run(parse_options(TrainOptions, [*settings, *run, *machine, *flags]))
    # the images' own tags, regardless of those in training
    make_cams.run(parse_options(CamOptions, [*run, *machine, f"--test_list={data / 'train_cls.txt'}"]))
    score_cams.run(parse_options(ScoreOptions, [*run, "--num_workers=1"]))
    labels = data.parent / "labels" / name
    make_labels.run(parse_options(LabelOptions, [*run, f"--label_dir={labels}", "--num_workers=1"]))
    scored = [*run, "--mode=png", f"--pred_dir={labels}", "--num_workers=1"]
    return json.loads(score_cams.run(parse_options(ScoreOptions, scored)).read_text())["mean_iou"]


def score_of_chance(data: Path) -> float:
    """Return the better mIoU of two trivial labels: only background, and an image's first tag everywhere."""
    nothing, whole = ConfusionMatrix(len(COLOURS) + 1), ConfusionMatrix(len(COLOURS) + 1)
    for entry in read_image_list(data / "train_cls.txt", len(COLOURS)):
        mask = read_label(data / "SegmentationClass" / f"{entry.name}.png")
        nothing.update(np.zeros_like(mask), mask)
        whole.update(np.full_like(mask, entry.tags[0] + 1), mask)
    return max(nothing.scores().mean_iou, whole.scores().mean_iou)


@pytest.mark.slow
def test_labels_of_l2g_beat_chance_and_the_cams_of_a_classifier_alone(tmp_path: Path):
    """Measured, % mIoU with seeds 0, 1, 2: L2G 45.7, 43.1, 44.7; the classifier alone 30.7, 34.7, 29.2; chance 20.4.

    With tags shuffled between training images, only saliency is informative: 37.0, which fails here.
    """
    data = make_marked_objects(tmp_path)
    l2g = score_of_labels(data, "l2g")
    assert l2g > score_of_chance(data) + ABOVE_CHANCE
    plain = score_of_labels(data, "plain", "--kd_weight=0", "--global_cls_weight=1", "--cam_activation=relu")
    assert l2g > plain + ABOVE_PLAIN


@pytest.mark.slow
def test_a_transformer_learns_the_objects(tmp_path: Path):
    """Measured with seed 0, random weights: 46.5 % mIoU; chance 20.4."""
    data = make_marked_objects(tmp_path)
    score = score_of_labels(data, "vit", "--backbone=timm:test_vit", "--width=1", "--layer_decay=0.9")
    assert score > score_of_chance(data) + ABOVE_CHANCE
