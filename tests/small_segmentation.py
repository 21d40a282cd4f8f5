"""A dataset of two classes with labels, and settings of a tiny network, for tests of the segmentation trainer."""

from pathlib import Path
from typing import Any

import numpy as np

from utils.config.parser import parse_options
from utils.data.images import write_image, write_label_png

TRAIN, VAL = 6, 3
SIZES = ((40, 48), (44, 36))  # height, width, in turn


def make_segmentation_data(folder: Path) -> Path:
    """Dataset `toy` (cat, dog): a bright square (cat) or a dark one (dog) on grey noise.

    t0..t5 are for training, v0..v2 have masks for testing, and all of them labels in labels/: the same squares, one
    pixel to the right.
    """
    data, rng = folder / "toy", np.random.default_rng(0)
    names = [f"t{i}" for i in range(TRAIN)] + [f"v{i}" for i in range(VAL)]
    for number, name in enumerate(names):
        height, width = SIZES[number % 2]
        image = rng.integers(100, 156, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        y, x = rng.integers(2, 14, 2)
        mask[y : y + 20, x : x + 20] = number % 2 + 1
        image[mask == 1] += 90
        image[mask == 2] -= 90
        write_image(data / "JPEGImages" / f"{name}.png", image)
        write_label_png(folder / "labels" / f"{name}.png", np.roll(mask, 1, axis=1))
        if name.startswith("v"):
            write_label_png(data / "SegmentationClass" / f"{name}.png", mask)
    (data / "classes.txt").write_text("cat\ndog\n")
    for split, letter in (("train", "t"), ("val", "v")):
        (data / f"{split}.txt").write_text("".join(f"{name}\n" for name in names if name.startswith(letter)))
    return data


def small_settings(data: Path, settings_class: type, **changes: Any) -> Any:
    """The settings of small_flags."""
    return parse_options(settings_class, small_flags(data, **changes))


def small_flags(data: Path, **changes: Any) -> list[str]:
    """Flags for a tiny ResNet at two scales on the CPU, with output beside the data.

    `changes` are written as keys with __ for the dot: SOLVER__LR=0.1.
    """
    values = {
        "EXP.ID": "exp",
        "EXP.OUTPUT_DIR": str(data.parent / "out"),
        "DATASET.ROOT": str(data),
        "DATASET.N_CLASSES": 3,
        "DATASET.LABEL_DIR": str(data.parent / "labels"),
        "DATASET.SPLIT.TRAIN": "train",
        "DATALOADER.NUM_WORKERS": 0,
        "IMAGE.SIZE.TRAIN": 33,
        "MODEL.NAME": "DeepLabV2_ResNet101_MSC",
        "MODEL.N_BLOCKS": [1, 1, 1, 1],
        "MODEL.WIDTH": 0.0625,
        "MODEL.ATROUS_RATES": [1, 2],
        "MODEL.SCALES": [0.5],
        "MODEL.FREEZE_BATCH_NORM": "false",
        "SOLVER.BATCH_SIZE.TRAIN": 2,
        "SOLVER.ITER_SIZE": 1,
        "SOLVER.ITER_MAX": 6,
        "SOLVER.ITER_SAVE": 4,
        "SOLVER.ITER_TB": 2,
        "SOLVER.LR_DECAY": 1,
        "SOLVER.LR": 0.001,
        "SOLVER.DEVICE": "cpu",
        "CRF.BI_XY_STD": 10.0,
    } | {key.replace("__", "."): value for key, value in changes.items()}
    return [f"--{key}={'null' if value is None else value}" for key, value in values.items()]
