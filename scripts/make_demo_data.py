"""Draw a small dataset in VOC's layout with the difficulties of weakly supervised segmentation; nothing is downloaded.

Classes come in pairs with the same large body, so only a small part distinguishes them. Some classes nearly always
appear on the same background. The saliency maps have the errors of a detector. See BACKGROUND_BOUND in
scripts/demo/scene.py.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import DemoDataOptions
    from utils.config.program import main

    main(DemoDataOptions, "scripts.make_demo_data")

import json
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np
from tqdm import tqdm

from scripts.demo.preview import draw_preview
from scripts.demo.scene import BACKGROUND_BOUND, draw_scene
from scripts.demo.sprites import CLASS_NAMES
from utils.config.options.prepare import DemoDataOptions
from utils.data.images import write_image, write_label_png
from utils.errors import UserError
from utils.files.atomic import read_json, write_json, write_lines
from utils.files.disk import disk_errors, make_folder

GENERATOR_VERSION = 3  # increment it whenever the same options give different files
JPEG_QUALITY = 92
SPLITS = ("train", "val")


@dataclass(frozen=True)
class PictureReport:
    """Facts about one written picture. Areas and sums over the saliency are in pixels."""

    name: str
    tags: tuple[int, ...]
    background: str
    object_area: int
    part_area: int
    saliency_error: float  # mean absolute difference to the object mask, 0..1
    overlap: int  # of the saliency at 0.5 with the objects
    union: int


def write_picture(item: tuple[int, int], *, root: Path, seed: int) -> PictureReport:
    """Draw and write a picture. item: (split, index), on which alone, with the seed, its randomness depends."""
    split, index = item
    scene = draw_scene(np.random.default_rng([seed, split, index]))
    name = f"demo_{SPLITS[split]}_{index:05d}"
    write_image(root / "JPEGImages" / f"{name}.jpg", scene.image, quality=JPEG_QUALITY)
    write_label_png(root / "SegmentationClass" / f"{name}.png", scene.mask)
    write_image(root / "Sal" / f"{name}.png", scene.saliency)
    salient = scene.saliency >= 128
    return PictureReport(
        name=name,
        tags=scene.tags,
        background=scene.background,
        object_area=int(scene.is_object.sum()),
        part_area=int(scene.is_part.sum()),
        saliency_error=float(np.abs(scene.saliency / 255 - scene.is_object).mean()),
        overlap=int((salient & scene.is_object).sum()),
        union=int((salient | scene.is_object).sum()),
    )


def _draw_all(items: list[tuple[int, int]], root: Path, options: DemoDataOptions) -> list[PictureReport]:
    draw = partial(write_picture, root=root, seed=options.seed)
    progress = partial(tqdm, total=len(items), desc="pictures", disable=None)
    if options.num_workers == 0:
        return list(progress(map(draw, items)))
    # spawned, since a fork of a process with OpenCV threads would wait for them forever; one OpenCV thread per
    # process, since the pictures are too small for more and workers would compete
    with ProcessPoolExecutor(
        options.num_workers, mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        return list(progress(pool.map(draw, items, chunksize=8)))


def _write_lists(root: Path, reports: dict[str, list[PictureReport]]) -> None:
    for split, pictures in reports.items():
        names = [picture.name for picture in pictures]
        write_lines(root / f"{split}.txt", names)
        if split == "train":
            write_lines(root / "train_aug.txt", names)
        write_lines(root / f"{split}_cls.txt", (" ".join([p.name, *map(str, p.tags)]) for p in pictures))
    write_lines(root / "classes.txt", CLASS_NAMES)


def _bound_shares(pictures: list[PictureReport]) -> dict[str, float]:
    """Return for each background-bound class the fraction of its pictures with that background."""
    shares = {}
    for name, background in BACKGROUND_BOUND.items():
        with_class = [picture for picture in pictures if CLASS_NAMES.index(name) in picture.tags]
        on_background = sum(picture.background == background for picture in with_class)
        shares[name] = round(on_background / max(1, len(with_class)), 3)
    return shares


def _summary(reports: dict[str, list[PictureReport]]) -> dict:
    pictures = [picture for split in reports.values() for picture in split]
    counts = {
        split: {name: sum(number in p.tags for p in part) for number, name in enumerate(CLASS_NAMES)}
        for split, part in reports.items()
    }
    part_area, object_area = (sum(getattr(p, field) for p in pictures) for field in ("part_area", "object_area"))
    return {
        "background_bound": BACKGROUND_BOUND,
        "pictures": {split: len(part) for split, part in reports.items()},
        "pictures_of_class": counts,
        "backgrounds": dict(sorted(Counter(picture.background for picture in pictures).items())),
        "share_on_bound_background": _bound_shares(pictures),
        "tags_per_picture": round(sum(len(p.tags) for p in pictures) / len(pictures), 3),
        "part_share_of_object_area": round(part_area / object_area, 4),
        "saliency_mean_absolute_error": round(sum(p.saliency_error for p in pictures) / len(pictures), 4),
        "saliency_iou_at_half": round(sum(p.overlap for p in pictures) / sum(p.union for p in pictures), 4),
    }


def _recipe(options: DemoDataOptions) -> dict:
    """Return the options that determine the files."""
    chosen = asdict(options)
    return {key: chosen[key] for key in ("seed", "num_train", "num_val")}


def _is_already_written(out: Path, options: DemoDataOptions) -> bool:
    """Return whether `out` already contains the same data. Raises UserError for any other content."""
    if not out.exists():
        return False
    record = out / "demo.json"
    if not record.is_file():
        raise UserError(
            "was not written by scripts/make_demo_data.py", out, remedy="give another --out, or move it away"
        )
    found = read_json(record)
    wanted = {"generator_version": GENERATOR_VERSION, "options": _recipe(options)}
    different = {key: found.get(key) for key, value in wanted.items() if found.get(key) != value}
    if different:
        what = f"contains other demo data ({different}, wanted {wanted})"
        raise UserError(what, out, remedy="give another --out, or delete that folder")
    return True


def _check(options: DemoDataOptions) -> None:
    for field in ("num_train", "num_val"):
        if getattr(options, field) < 1:
            raise UserError(str(getattr(options, field)), f"--{field}", "expected 1 or more")
    for field in ("seed", "num_workers"):
        if getattr(options, field) < 0:
            raise UserError(str(getattr(options, field)), f"--{field}", "expected 0 or more")


def run(options: DemoDataOptions) -> Path:
    """Write the demo data and return its folder. A folder that already contains the same data is not changed."""
    _check(options)
    out = Path(options.out)
    if _is_already_written(out, options):
        print(f"{out} already contains this demo data: nothing to do")
        return out
    make_folder(out.parent)
    with disk_errors(out, "written"):
        workspace = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    with workspace as temporary:
        root = Path(temporary) / "data"  # not the temporary folder itself, which is only readable by its owner
        for folder in ("JPEGImages", "SegmentationClass", "Sal"):
            make_folder(root / folder)
        sizes = (options.num_train, options.num_val)
        items = [(split, index) for split, size in enumerate(sizes) for index in range(size)]
        drawn = _draw_all(items, root, options)
        reports = {"train": drawn[: options.num_train], "val": drawn[options.num_train :]}
        _write_lists(root, reports)
        tags_of = [(picture.name, picture.tags) for picture in reports["train"]]
        write_image(root / "preview.jpg", draw_preview(root, tags_of), quality=JPEG_QUALITY)
        summary = _summary(reports)
        record = {"generator_version": GENERATOR_VERSION, "options": _recipe(options), **summary}
        write_json(root / "demo.json", record)
        with disk_errors(out, "written"):
            root.rename(out)
    print(json.dumps(summary, indent=2))
    print(f"demo data written to {out}")
    return out
