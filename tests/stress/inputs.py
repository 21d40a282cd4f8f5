"""Functions that make bad inputs: each changes the content of a case's folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from utils.cam.artefact import write_cam

Make = Callable[[Path], object]


def text(path: str, content: str | bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def remove(path: str) -> Make:
    def make(folder: Path) -> None:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return make


def cut(path: str, count: int = 30) -> Make:
    """Truncate the file, like a broken download or a power failure."""
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:-count])


def replaced(path: str, old: str, new: str) -> Make:
    return lambda folder: (folder / path).write_text((folder / path).read_text().replace(old, new))


def every(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def pth(path: str, content: Any) -> Make:
    return lambda folder: torch.save(content, folder / path)


def only_checkpoint(folder: Path) -> Path:
    return next(iter(sorted((folder / "runs/exp/model").glob("*.pth"))))


def checkpoint(change: Callable[[dict[str, Any]], Any]) -> Make:
    """Change the run's checkpoint in place, or replace it with the result of `change`."""

    def make(folder: Path) -> None:
        path = only_checkpoint(folder)
        content = torch.load(path, weights_only=True)
        returned = change(content)
        torch.save(content if returned is None else returned, path)

    return make


def with_value(value: float) -> Make:
    """Set one weight of the run's classifier to `value`."""

    def change(content: dict[str, Any]) -> None:
        tensor = next(t for t in content["state_dict"].values() if t.is_floating_point() and t.numel() > 9)
        tensor.view(-1)[0] = value

    return checkpoint(change)


def cam(name: str, keys: list[int], *, size: tuple[int, int] = (36, 44)) -> Make:
    def make(folder: Path) -> None:
        # here, because every case is a fork of the process that has the table, and some maps take gigabytes
        write_cam(folder / f"runs/exp/cam/{name}.npz", keys, np.full((len(keys), *size), 200, np.uint8))

    return make


def picture(path: str, mode: str, *, size: tuple[int, int] = (44, 36), **options: Any) -> Make:
    def make(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        if mode.startswith("I;16"):
            image = Image.fromarray(rng.integers(0, 65536, size[::-1], dtype=np.uint16))
        else:
            image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert(mode)
        if mode == "RGBA":
            image.putalpha(128)
        image.save(folder / path, **options)

    return make


def masks_of(change: Callable[[np.ndarray], Image.Image]) -> Make:
    """Replace every mask of the dataset, given its indices."""

    def make(folder: Path) -> None:
        for path in (folder / "toy/SegmentationClass").glob("*.png"):
            change(np.asarray(Image.open(path))).save(path)

    return make


def maps_of(change: Callable[[np.ndarray], Image.Image]) -> Make:
    """Replace every saliency map of the dataset, given its values."""

    def make(folder: Path) -> None:
        for path in (folder / "toy/Sal").glob("*.png"):
            change(np.asarray(Image.open(path))).save(path)

    return make


TINY = {"one": (1, 1), "low": (5, 7), "wide": (300, 7), "odd": (33, 31)}  # name -> width and height, pixels


def tiny_photos(folder: Path) -> None:
    """Add photos of the sizes in TINY, with saliency and tags, to the dataset."""
    for name, size in TINY.items():
        picture(f"toy/JPEGImages/{name}.png", "RGB", size=size)(folder)
        picture(f"toy/Sal/{name}.png", "L", size=size)(folder)
    with (folder / "toy/train_cls.txt").open("a") as lines:
        lines.writelines(f"{name} {number % 2}\n" for number, name in enumerate(TINY))


def without_rights(path: str, mode: int = 0o000) -> Make:
    return lambda folder: os.chmod(folder / path, mode)


def dated(pattern: str, stamp: float) -> Make:
    def make(folder: Path) -> None:
        for path in folder.glob(pattern):
            os.utime(path, (stamp, stamp))

    return make


def coco(change: Callable[[dict[str, Any]], None]) -> Make:
    """COCO's folders with one image each; `change` corrupts the training annotations."""
    from utils.data.catalog import COCO_CLASSES

    def make(folder: Path) -> None:
        for split in ("train", "val"):
            name = f"COCO_{split}2014_000000000001.jpg"
            picture(f"coco/{split}2014/{name}", "RGB", size=(20, 16))(folder)
            polygon = [2, 2, 10, 2, 10, 10, 2, 10]
            content: dict[str, Any] = {
                "images": [{"id": 1, "file_name": name, "height": 16, "width": 20}],
                "categories": [{"id": number + 1, "name": known} for number, known in enumerate(COCO_CLASSES)],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 64.0, "segmentation": [polygon]}
                ],
            }
            if split == "train":
                change(content)
            target = folder / f"coco/annotations/instances_{split}2014.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(content))

    return make
