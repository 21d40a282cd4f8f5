"""The initial folders of cases: a dataset, a run with CAMs, a segmentation network, photos. Paths are relative."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.small_segmentation import make_segmentation_data, small_flags
from tests.small_training import make_training_data
from tests.stress.case import last_line, run
from utils.data.images import read_label, write_label_png

SMALL = [
    "--width=0.0625", "--resize=36", "--input_size=32", "--crop_size=24", "--num_patches=4", "--batch_size=2",
    "--lr=1e-4", "--epochs=1", "--frozen_stages=0", "--freeze_batch_norm=false", "--init_weights=none",
]  # fmt: skip
RUN = ["--experiment_name=exp", "--runs_dir=runs"]
TRAIN = ["train_l2g.py", *RUN, "--dataset=toy", *SMALL, "--device=cpu", "--num_workers=0"]
CAMS = ["test_l2g.py", *RUN, "--device=cpu", "--num_workers=0", "--scales=1"]
SCORE = ["evaluate.py", *RUN, "--num_workers=1"]
LABELS = ["gen_gt.py", *RUN, "--label_dir=labels", "--num_workers=1"]
PREPARE = ["scripts/prepare_own.py", "--images=photos", "--out=mine", "--num_workers=1"]
CHECK = ["scripts/check_data.py", "--dataset=toy", "--num_workers=1"]
SEGMENT = [flag.replace("/nowhere/", "") for flag in small_flags(Path("/nowhere/toy"))]
# output beside the data, since a relative folder would be in the project
SEGMENT = [flag for flag in SEGMENT if not flag.startswith("--EXP.OUTPUT_DIR")]


def segment(command: str, *flags: str) -> str:
    """A shell line, because the absolute output folder is only known where it runs."""
    words = " ".join(f"'{flag}'" for flag in (*SEGMENT, *flags))
    return f"$PY $ROOT/deeplabv2/main.py {command} --EXP.OUTPUT_DIR=$PWD/out {words}"


def _toy(folder: Path) -> None:
    make_training_data(folder)
    names = [line.split() for line in (folder / "toy" / "train_cls.txt").read_text().splitlines()]
    for name, tag, *_ in names:
        square = read_label(folder / "toy" / "Sal" / f"{name}.png") > 0
        write_label_png(folder / "toy" / "SegmentationClass" / f"{name}.png", square * np.uint8(int(tag) + 1))
    (folder / "toy" / "train.txt").write_text("".join(f"{name}\n" for name, *_ in names))


def _run(folder: Path) -> None:
    _toy(folder)
    _steps(folder, TRAIN, CAMS, SCORE)


def _segmentation(folder: Path) -> None:
    make_segmentation_data(folder)


def _tested(folder: Path) -> None:
    _segmentation(folder)
    _steps(folder, segment("train", "--SOLVER.ITER_MAX=2"), segment("test", "--num_workers=1"))


def _photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for tag in ("cat", "dog"):
        for number in range(2):
            path = folder / "photos" / tag / f"{tag}{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)


def _steps(folder: Path, *steps: Sequence[str] | str) -> None:
    for number, words in enumerate(steps):
        ended = run(words, folder, folder / f".step{number}.txt")
        if ended.status != 0:
            how = "takes too long, see --patience" if ended.status is None else last_line(ended.output)
            raise RuntimeError(f"the folder to begin with: {words[0]}: {how}")


WORLDS = {
    "empty": lambda folder: None,
    "toy": _toy,
    "run": _run,
    "segmentation": _segmentation,
    "tested": _tested,
    "photos": _photos,
}


class Worlds:
    """Creates each world once, and copies it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, name: str, target: Path) -> None:
        made = self.folder / name
        if not made.is_dir():
            made.mkdir(parents=True)
            WORLDS[name](made)
        shutil.copytree(made, target, symlinks=True)
