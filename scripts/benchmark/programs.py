"""Whole programs without a network against plain scripts in the way of the published ones, by their CPU seconds."""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.benchmark.hot_paths import write_artefacts, write_maps
from scripts.benchmark.measuring import Row, usage_of
from scripts.benchmark.plain_ways import blobs
from utils.cam.artefact import read_cam, write_cam
from utils.config.options import ScoreOptions
from utils.data.catalog import IMAGE_FOLDER, MASK_FOLDER, TRAIN_MASKS, TRAIN_TAGS, VOC_CLASSES
from utils.data.image_list import ImageEntry, read_image_list, write_image_list
from utils.data.images import read_label, write_image, write_label_png
from utils.files.atomic import read_json, write_lines
from utils.files.disk import disk_errors, make_folder
from utils.files.locate import PROJECT_ROOT

MOST = 40  # images: with more, the plain scripts take minutes
THRESHOLD = 0.35
PLAIN = str(Path(__file__).with_name("plain_programs.py"))


def measure_programs(*, images: int, size: tuple[int, int], repeats: int, seed: int) -> list[Row]:
    """Run evaluate.py and gen_gt.py and their plain counterparts in turns. RuntimeError if results differ."""
    thresholds, images = ScoreOptions().thresholds, min(images, MOST)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, ours, plain = folder / "data", folder / "ours", folder / "plain"
        make_folder(plain)
        write_run(folder, images=images, size=size, seed=seed)
        run = ["--experiment_name=run", f"--runs_dir={folder / 'runs'}", f"--dataset={data}", "--num_workers=1"]
        photos, masks, maps = (str(folder) for folder in (data / IMAGE_FOLDER, data / MASK_FOLDER, folder / "maps"))
        scores = in_turns(
            [str(PROJECT_ROOT / "evaluate.py"), *run],
            [PLAIN, "scores", photos, masks, maps, str(plain), *map(str, thresholds)],
            repeats,
            cache=folder / "cache",
        )
        table = read_json(folder / "runs" / "run" / "cam_scores.json")["thresholds"]
        if not np.allclose([row["mean_iou"] for row in table], read_json(plain / "scores.json"), atol=1e-9):
            raise RuntimeError("both programs of scores differ")
        labels = in_turns(
            [str(PROJECT_ROOT / "gen_gt.py"), *run, f"--threshold={THRESHOLD}", f"--label_dir={ours}", "--overwrite"],
            [PLAIN, "labels", photos, maps, str(plain), str(THRESHOLD)],
            repeats,
            cache=folder / "cache",
        )
        floor = usage_of(["-c", "import numpy, cv2, PIL.Image"], cache=folder / "cache").cpu
        for entry in read_image_list(data / TRAIN_TAGS, len(VOC_CLASSES)):
            label, other = (read_label(where / f"{entry.name}.png") for where in (ours, plain))
            if not np.array_equal(label, other):
                raise RuntimeError(f"both programs of labels differ at {entry.name}")
    return [
        _row(f"evaluate.py, {images} images, {len(thresholds)} thresholds", scores, floor=floor, at_least=10),
        _row(f"gen_gt.py, {images} images", labels, floor=floor, at_least=1),
    ]


def in_turns(ours: Sequence[str], plain: Sequence[str], repeats: int, *, cache: Path) -> tuple[float, float]:
    """Return the median CPU seconds of both programs, after a run of ours that compiles its modules."""
    usage_of(ours, cache=cache)
    seconds = [[usage_of(command, cache=cache).cpu for command in (ours, plain)] for _ in range(repeats)]
    own, other = (statistics.median(values) for values in zip(*seconds))
    return own, other


def _row(what: str, seconds: tuple[float, float], *, floor: float, at_least: float) -> Row:
    ours, plain = seconds
    floor_is = "the start of Python, numpy, OpenCV and Pillow"
    note = "whole program, CPU seconds"
    return Row(what, ours, plain, plain / ours, at_least=at_least, note=note, floor=floor, floor_is=floor_is)


def write_run(folder: Path, *, images: int, size: tuple[int, int], seed: int) -> None:
    """Write photographs, masks and a run's CAMs in `folder`, and the CAMs in maps/: as float maps and as grey PNGs."""
    rng, data, maps, entries = np.random.default_rng(seed), folder / "data", folder / "maps", []
    make_folder(maps)
    for cam_file, mask in write_artefacts(folder / "made", images=images, size=size, seed=seed):
        keys, cams = read_cam(cam_file)
        entries.append(ImageEntry(cam_file.stem, tuple(keys.tolist())))
        write_image(data / IMAGE_FOLDER / f"{cam_file.stem}.jpg", np.stack(list(blobs(rng, 3, size)), axis=2))
        write_label_png(data / MASK_FOLDER / mask.name, read_label(mask))
        write_cam(folder / "runs" / "run" / "cam" / cam_file.name, keys, cams)
        write_maps(cam_file, maps)
        with disk_errors(maps, "written"):
            np.savez(maps / cam_file.name, keys=keys, maps=cams / np.float32(255))
    write_lines(data / "classes.txt", VOC_CLASSES)
    write_image_list(data / TRAIN_TAGS, entries)
    write_lines(data / TRAIN_MASKS, (entry.name for entry in entries))
