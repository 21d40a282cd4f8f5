"""A dataset of two classes and a run with CAMs, a few pixels large, for tests of the later stages."""

from pathlib import Path

import numpy as np

from utils.cam.artefact import write_cam
from utils.data.images import write_image, write_label_png

NAMES = ("a", "b", "c")
HEIGHT, WIDTH = 4, 6


def make_small_run(folder: Path) -> dict[str, str]:
    """Dataset `toy` (cat, dog) and run `exp`: a is a cat, b cat and dog, c nothing. Returns options.

    In a, columns 0..2 are cat; the CAM is 0.8 there, 0.4 in column 3, 0.1 elsewhere. In b, the left half is cat, the
    right half dog, both at 1.0. In c everything is background.
    """
    data, cam_dir = folder / "toy", folder / "runs" / "exp" / "cam"
    cat = np.full((HEIGHT, WIDTH), 26, np.uint8)
    cat[:, :3], cat[:, 3] = 204, 102
    left = np.zeros((HEIGHT, WIDTH), np.uint8)
    left[:, :3] = 255
    write_cam(cam_dir / "a.npz", [0], cat[None])
    write_cam(cam_dir / "b.npz", [0, 1], np.stack([left, left[:, ::-1]]))
    write_cam(cam_dir / "c.npz", [], np.zeros((0, HEIGHT, WIDTH), np.uint8))
    masks = {"a": (left > 0) * np.uint8(1), "b": np.where(left > 0, np.uint8(1), np.uint8(2)), "c": left * np.uint8(0)}
    rng = np.random.default_rng(0)
    for name, mask in masks.items():
        write_label_png(data / "SegmentationClass" / f"{name}.png", mask)
        write_image(data / "JPEGImages" / f"{name}.jpg", rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    (data / "classes.txt").write_text("cat\ndog\n")
    (data / "train.txt").write_text("a\nb\nc\n")
    (data / "train_cls.txt").write_text("a 0\nb 0 1\nc\n")
    return {"experiment_name": "exp", "runs_dir": str(folder / "runs"), "dataset": str(data)}
