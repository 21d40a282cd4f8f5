"""Synthetic downloads a few pixels large: a VOC devkit, SBD, COCO, and a user's photos."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from utils.data.catalog import COCO_CLASSES
from utils.data.images import write_image, write_label_png

HEIGHT, WIDTH = 12, 16
VOC_TRAIN, VOC_VAL, VOC_TEST = ["2007_000032", "2007_000039"], ["2007_000042"], ["2008_000006"]
SBD_ONLY = ["2008_000002", "2008_000003"]  # images of VOC with masks only in SBD


def photo(path: Path, *, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))
    return path


def block_mask(value: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 4:12] = value
    return mask


def make_voc(folder: Path, *, test: bool = True) -> Path:
    """VOCdevkit/VOC2012: every image shows a dog (tag 11), a person (14) with a head, and a difficult cat (7)."""
    voc = folder / "VOCdevkit" / "VOC2012"
    for number, name in enumerate([*VOC_TRAIN, *VOC_VAL, *SBD_ONLY, *(VOC_TEST if test else [])]):
        photo(voc / "JPEGImages" / f"{name}.jpg", seed=number)
        if name not in VOC_TEST:
            (voc / "Annotations").mkdir(exist_ok=True)
            (voc / "Annotations" / f"{name}.xml").write_text(
                "<annotation><filename>a.jpg</filename>"
                "<object><name>person</name><part><name>head</name></part></object>"
                "<object><name>dog</name></object><object><name>dog</name></object>"
                "<object><name>cat</name><difficult>1</difficult></object></annotation>"
            )
    for name in (*VOC_TRAIN, *VOC_VAL):
        write_label_png(voc / "SegmentationClass" / f"{name}.png", block_mask(12))
    lists = {"train": VOC_TRAIN, "val": VOC_VAL, "trainval": VOC_TRAIN + VOC_VAL} | ({"test": VOC_TEST} if test else {})
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, names in lists.items():
        (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))
    return voc


def make_sbd(folder: Path, *, more: tuple[str, ...] = ()) -> Path:
    """benchmark_RELEASE with a train and a val image of VOC, those without a VOC mask, and `more`."""
    data = folder / "benchmark_RELEASE" / "dataset"
    (data / "cls").mkdir(parents=True)
    for name in (VOC_TRAIN[0], VOC_VAL[0], *SBD_ONLY, *more):
        truth = {"Segmentation": block_mask(15), "Boundaries": np.zeros((20, 1)), "CategoriesPresent": 15}
        savemat(data / "cls" / f"{name}.mat", {"GTcls": truth})
    (data / "train.txt").write_text("".join(f"{n}\n" for n in (VOC_TRAIN[0], SBD_ONLY[0], *more)))
    (data / "val.txt").write_text("".join(f"{n}\n" for n in (VOC_VAL[0], SBD_ONLY[1])))
    return data.parent


def coco_category(name: str) -> int:
    """A category's id, with gaps like COCO's."""
    return 10 + 3 * COCO_CLASSES.index(name)


def rectangle(x: int, y: int, width: int, height: int) -> list[list[float]]:
    """A polygon over whole pixels."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def make_coco(folder: Path) -> Path:
    """Two training images (the first with a big cat under a small dog and a crowd of persons) and one of val.

    Another training image has no annotation.
    """
    coco = folder / "coco"
    crowd = np.zeros((HEIGHT, WIDTH), int)
    crowd[:, :5] = 1
    runs = np.flatnonzero(np.diff(crowd.ravel(order="F"), prepend=0, append=0))
    counts = np.diff([0, *runs, crowd.size]).tolist()
    objects = {
        "train2014": [
            (9, "dog", 0, 6.0, rectangle(4, 3, 3, 2)),
            (9, "cat", 0, 60.0, rectangle(2, 1, 10, 6)),
            (9, "person", 1, 200.0, {"size": [HEIGHT, WIDTH], "counts": counts}),
            (25, "toothbrush", 0, 4.0, rectangle(0, 0, 2, 2)),
        ],
        "val2014": [(42, "traffic light", 0, 4.0, rectangle(0, 0, 2, 2))],
    }
    for split, listed in objects.items():
        numbers = sorted({item[0] for item in listed}) + ([30] if split == "train2014" else [])
        images = [
            {"id": n, "file_name": f"COCO_{split}_{n:012d}.jpg", "height": HEIGHT, "width": WIDTH} for n in numbers
        ]
        for image in images:
            photo(coco / split / image["file_name"], seed=image["id"])
        annotations = [
            {"id": k, "image_id": n, "category_id": coco_category(c), "iscrowd": i, "area": area, "segmentation": s}
            for k, (n, c, i, area, s) in enumerate(listed)
        ]
        categories = [{"id": coco_category(name), "name": name} for name in reversed(COCO_CLASSES)]
        (coco / "annotations").mkdir(parents=True, exist_ok=True)
        (coco / "annotations" / f"instances_{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
    return coco


def turned_photo(path: Path) -> Path:
    """A photo stored sideways, with the EXIF rotation of a phone: upright it is taller than wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path, exif=exif)
    return path
