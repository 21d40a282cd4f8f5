"""A dataset of two classes and training options, a few pixels large, for tests of training."""

from pathlib import Path

import numpy as np

from utils.config.options import TrainOptions
from utils.data.images import write_image


def make_training_data(folder: Path, *, count: int = 8, saliency: bool = True) -> Path:
    """Dataset `toy` (cat, dog): bright squares on noise, tagged cat, dog or both in turn, saliency on the square."""
    data, rng = folder / "toy", np.random.default_rng(0)
    lines = []
    for number in range(count):
        name, tags = f"p{number}", ("0", "1", "0 1")[number % 3]
        image = rng.integers(0, 128, (36, 44, 3), dtype=np.uint8)
        mask = np.zeros((36, 44), np.uint8)
        y, x = rng.integers(0, 16, 2)
        mask[y : y + 18, x : x + 18] = 255
        image[mask > 0] += 100
        write_image(data / "JPEGImages" / f"{name}.png", image)
        if saliency:
            write_image(data / "Sal" / f"{name}.png", mask)
        lines.append(f"{name} {tags}\n")
    (data / "classes.txt").write_text("cat\ndog\n")
    (data / "train_cls.txt").write_text("".join(lines))
    return data


def small_options(data: Path, **more: object) -> TrainOptions:
    """One epoch of ResNet-38 at a sixteenth of its width, on the CPU, into the folder `runs` beside the data."""
    options = {
        "experiment_name": "exp",
        "runs_dir": str(data.parent / "runs"),
        "dataset": str(data),
        "width": 0.0625,
        "resize": 36,
        "input_size": 32,
        "crop_size": 24,
        "num_patches": 4,
        "epochs": 1,
        "batch_size": 2,
        "lr": 1e-4,
        "device": "cpu",
        "num_workers": 0,
        # random weights: nothing is frozen
        "frozen_stages": 0,
        "freeze_batch_norm": False,
    }
    return TrainOptions(**{**options, **more})
