"""Seconds and peak memory of every stage on datasets of growing size, with tiny images and networks."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.benchmark.measuring import Row, usage_of
from scripts.benchmark.plain_ways import blobs
from utils.cam.artefact import write_cam
from utils.cam.labels import to_label
from utils.data.catalog import IMAGE_FOLDER, MASK_FOLDER, SALIENCY_FOLDER
from utils.data.image_list import ImageEntry, write_image_list
from utils.data.images import write_image, write_label_png
from utils.errors import UserError
from utils.files.atomic import write_lines
from utils.files.disk import disk_errors, make_folder
from utils.files.locate import PROJECT_ROOT
from utils.runs.segmentation import notes_kept

CLASSES = tuple(f"class{number}" for number in range(20))
SIZE = (48, 64)  # height, width of the images
PATTERNS, DISTINCT = 16, 512  # different images; the next ones are these, rolled; the others are links to them

TINY_CLASSIFIER = (
    "--backbone=resnet38", "--init_weights=none", "--width=0.0625", "--output_stride=8", "--frozen_stages=0",
    "--freeze_batch_norm=false", "--resize=36", "--input_size=32", "--crop_size=24", "--num_patches=4",
    "--batch_size=8", "--epochs=1", "--num_workers=0", "--cam_scales=[1]",
)  # fmt: skip
TINY_SEGMENTER = (
    "--MODEL.NAME=DeepLabV2_ResNet101", "--MODEL.N_BLOCKS=[1,1,1,1]", "--MODEL.WIDTH=0.0625",
    "--MODEL.FREEZE_BATCH_NORM=false", "--IMAGE.SIZE.TRAIN=33", "--SOLVER.BATCH_SIZE.TRAIN=2", "--SOLVER.ITER_SIZE=1",
    "--SOLVER.ITER_MAX=10", "--SOLVER.ITER_SAVE=10", "--SOLVER.DEVICE=cpu", "--DATALOADER.NUM_WORKERS=0",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A program and its flags."""

    name: str
    program: str
    flags: Sequence[str]


def stages_in(folder: Path) -> list[Stage]:
    """Return all stages on the dataset in `folder`, in the order in which they need each other."""
    run = ("--experiment_name=scale", f"--runs_dir={folder / 'runs'}", f"--dataset={folder / 'data'}")
    labels, seen, photos = f"--label_dir={folder / 'labels'}", folder / "seen", folder / "data" / IMAGE_FOLDER
    alone = "--num_workers=1"
    segmentation = (
        "--EXP.ID=scale", f"--EXP.OUTPUT_DIR={folder / 'out'}", f"--dataset={folder / 'data'}",
        f"--DATASET.LABEL_DIR={folder / 'labels'}", "--DATASET.SPLIT.VAL=train", *TINY_SEGMENTER,
    )  # fmt: skip
    main = "deeplabv2/main.py"
    return [
        Stage("check", "scripts/check_data.py", (run[2], alone)),
        Stage("train", "train_l2g.py", (*run, *TINY_CLASSIFIER)),
        Stage("cams", "test_l2g.py", (*run, "--num_workers=0")),
        Stage("scores", "evaluate.py", (*run, alone)),
        Stage("labels", "gen_gt.py", (*run, labels, "--threshold=0.3", alone)),
        Stage("label_scores", "evaluate.py", (*run, "--mode=png", f"--pred_dir={folder / 'labels'}", alone)),
        Stage("export", "scripts/export_labels.py", (*run, labels, f"--out={folder / 'export'}", alone)),
        Stage("segmentation", main, ("train", *segmentation)),
        Stage("test", main, ("test", *segmentation, alone)),
        Stage("crf", main, ("crf", *segmentation, alone)),
        Stage("predict", main, ("predict", *segmentation, alone, f"--image_dir={photos}", f"--out={seen}")),
        Stage("judge", "scripts/judge_labels.py", (*run, labels, f"--prediction_dir={seen / 'labels'}", alone)),
        Stage("report", "res.py", (*run, labels, "--report", alone)),
    ]


def measure_scale(sizes: Sequence[int], chosen: Sequence[str] | None, *, seed: int) -> list[Row]:
    """Run the stages on one dataset per size. Without the stage `cams`, random CAM files take their place.

    Raises UserError naming an unknown stage, and RuntimeError with the output of a program that fails.
    """
    names = [stage.name for stage in stages_in(Path())]
    if unknown := [name for name in chosen or () if name not in names]:
        raise UserError(unknown[0], "--stages", f"expected some of {', '.join(names)}")
    rows = []
    for count in sizes:
        with notes_kept(), tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with_cams = chosen is not None and "cams" not in chosen
            write_dataset(folder, count, seed=seed, with_cams=with_cams)
            for stage in stages_in(folder):
                if chosen is None or stage.name in chosen:
                    print(f"  {stage.name}, {count} images", file=sys.stderr)
                    rows.append(run_stage(stage, count))
    return rows


def run_stage(stage: Stage, count: int) -> Row:
    """Run a stage's program and measure it."""
    usage = usage_of([str(PROJECT_ROOT / stage.program), *stage.flags])
    note = f"{usage.cpu:.1f} s of CPU in {usage.seconds:.1f} s, peak {usage.peak >> 20} MiB"
    return Row(f"{stage.name}, {count} images, per CPU s", count / usage.cpu, note=note)


def write_dataset(folder: Path, count: int, *, seed: int, with_cams: bool) -> None:
    """Write `count` images with tags, saliency and masks, and CAM files if asked for."""
    rng, data, cam_dir = np.random.default_rng(seed), folder / "data", folder / "runs" / "scale" / "cam"
    make_folder(data)
    patterns = [blobs(rng, 6, SIZE) for _ in range(PATTERNS)]
    entries: list[ImageEntry] = []
    for number in range(count):
        name = f"image_{number:06d}"
        paths = [data / IMAGE_FOLDER / f"{name}.jpg", data / SALIENCY_FOLDER / f"{name}.png"]
        paths += [data / MASK_FOLDER / f"{name}.png", *([cam_dir / f"{name}.npz"] if with_cams else [])]
        if number >= DISTINCT:
            same = entries[number % DISTINCT]
            entries.append(ImageEntry(name, same.tags))
            for path in paths:
                with disk_errors(path, "written"):
                    path.hardlink_to(path.with_stem(same.name))
            continue
        *colors, saliency, first, second = (np.roll(plane, number, axis=1) for plane in patterns[number % PATTERNS])
        keys = np.sort(rng.choice(len(CLASSES), 2, replace=False))
        cams = np.stack([first, second])
        entries.append(ImageEntry(name, tuple(keys.tolist())))
        write_image(paths[0], np.stack(colors, axis=2))
        write_image(paths[1], saliency)
        write_label_png(paths[2], to_label(keys, cams, 0.5))
        if with_cams:
            write_cam(paths[3], keys, cams)
    write_lines(data / "classes.txt", CLASSES)
    write_image_list(data / "train_cls.txt", entries)
    for listing in ("train.txt", "train_aug.txt"):
        write_lines(data / listing, (entry.name for entry in entries))
