"""Rows about users' data: photos, maps, lists, tables, annotations of other tools."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.stress.case import Case, either, refused, works
from tests.stress.inputs import coco, cut, every, maps_of, masks_of, picture, remove, text
from tests.stress.worlds import CHECK, PREPARE, SCORE, TRAIN
from utils.data.palette import PALETTE

TABLE = [*PREPARE, "--tags=tags.csv"]
COCO = ["scripts/prepare_coco.py", "--coco=coco", "--out=out", "--num_workers=1"]
ROWS = "file,tags\ncat0.jpg,{}\ncat1.jpg,cat\ndog0.jpg,dog\ndog1.jpg,dog\n"


def _table(cell: str, header: str = "file,tags") -> Any:
    return text("tags.csv", ROWS.format(cell).replace("file,tags", header))


def _classes(*names: str) -> Callable[[Path, str], str | None]:
    def check(folder: Path, printed: str) -> str | None:
        found = (folder / "mine/classes.txt").read_text().splitlines()
        return None if found == list(names) else f"classes {found}"

    return check


def _nothing_written(folder: Path, printed: str) -> str | None:
    written = [str(path) for name in ("mine", "out") for path in (folder / name).rglob("*") if not path.is_dir()]
    return f"written: {written[:3]}" if written else None


def _reordered(label: np.ndarray) -> Image.Image:
    return Image.fromarray(PALETTE[label]).quantize(8)


def _cut_out(saliency: np.ndarray) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(np.dstack([rng.integers(0, 256, (*saliency.shape, 3), dtype=np.uint8), saliency]))


def _heat(saliency: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([saliency, 255 - saliency, saliency // 2]))


def _many(folder: Path) -> None:
    for number in range(10_000):
        target = folder / f"photos/cat/IMG_{number:05d}.jpg"
        target.hardlink_to(folder / "photos/cat/cat0.jpg")
    (folder / "tags.csv").write_text("file,tags\n" + "".join(f"PIC_{n:05d},cat\n" for n in range(10_000)))


def _no_suffix(folder: Path) -> None:
    (folder / "tags.csv").write_text("file,tags\ncat0,cat\ncat1,cat\nDOG0,dog\ndog1.JPG,dog\n")


def _drop(key: str, part: str = "annotations") -> Callable[[dict[str, Any]], None]:
    return lambda content: content[part][0].pop(key)


def _put(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["annotations"][0].update(values)


def _twice(content: dict[str, Any]) -> None:
    content["images"].append({**content["images"][0], "id": 2})
    content["annotations"].append({**content["annotations"][0], "id": 2, "image_id": 2})


DATA = (
    Case("photo truncated", "toy", TRAIN, refused("p3.png"), cut("toy/JPEGImages/p3.png")),
    Case("photo truncated, two workers", "toy", [*TRAIN, "--num_workers=2"], refused("p3.png"), cut("toy/JPEGImages/p3.png")),
    Case("photo of zero bytes", "toy", TRAIN, refused("p3.png"), text("toy/JPEGImages/p3.png", "")),
    Case("photo a FIFO", "toy", "rm toy/JPEGImages/p3.png; mkfifo toy/JPEGImages/p3.png; $PY $ROOT/" + " ".join(TRAIN), refused("p3")),
    Case("photo a FIFO, check_data", "toy", "rm toy/JPEGImages/p3.png; mkfifo toy/JPEGImages/p3.png; $PY $ROOT/" + " ".join(CHECK), either("p3")),
    Case("photo a folder", "toy", TRAIN, refused("p3"), every(remove("toy/JPEGImages/p3.png"), lambda folder: (folder / "toy/JPEGImages/p3.png").mkdir())),
    Case("photo an HTML page", "toy", TRAIN, refused("p3.png"), text("toy/JPEGImages/p3.png", "<html>")),
    Case("saliency truncated", "toy", TRAIN, refused("p3.png"), cut("toy/Sal/p3.png")),
    Case("saliency of another size", "toy", TRAIN, refused("p3.png"), picture("toy/Sal/p3.png", "L", size=(9, 9))),
    Case("saliency cut-outs (RGBA)", "toy", CHECK, works("cut-outs"), maps_of(_cut_out)),
    Case("saliency a heat map", "toy", TRAIN, refused("toy/Sal/p", "colour"), maps_of(_heat)),
    Case("saliency a heat map, check_data", "toy", CHECK, either("not grey"), maps_of(_heat)),
    Case("mask palette in another order", "toy", CHECK, works("colour"), masks_of(_reordered)),
    Case("mask in RGB", "toy", CHECK, either("not label maps"), masks_of(lambda label: Image.fromarray(PALETTE[label]))),
    Case("mask of one class as 0 and 255", "run", SCORE, refused("255"), masks_of(lambda label: Image.fromarray((label > 0) * np.uint8(255)))),
    Case("mask of one class as 0 and 255, check_data", "toy", CHECK, either("255"), masks_of(lambda label: Image.fromarray((label > 0) * np.uint8(255)))),
    Case("mask values outside of the classes", "run", SCORE, refused("p0"), masks_of(lambda label: Image.fromarray(label * np.uint8(9)))),
    Case("classes begin with _background_", "toy", TRAIN, refused("classes.txt", "background"), text("toy/classes.txt", "_background_\ncat\ndog\n")),
    Case("classes begin with __ignore__", "toy", TRAIN, refused("classes.txt"), text("toy/classes.txt", "__ignore__\ncat\ndog\n")),
    Case("classes begin with background", "toy", TRAIN, refused("classes.txt"), text("toy/classes.txt", "background\ncat\ndog\n")),
    Case("classes differ only in case", "toy", TRAIN, refused("classes.txt"), text("toy/classes.txt", "cat\nCat\n")),
    Case("classes of another encoding", "toy", TRAIN, refused("classes.txt", "UTF-8"), text("toy/classes.txt", "ca\xe9t\ndog\n".encode("latin-1"))),
    Case("classes empty", "toy", TRAIN, refused("classes.txt"), text("toy/classes.txt", "\n")),
    Case("list tag of another script", "toy", TRAIN, refused("train_cls.txt:1"), text("toy/train_cls.txt", "p0 ²\n")),
    Case("list tag of 5,000 digits", "toy", TRAIN, refused("train_cls.txt:1"), text("toy/train_cls.txt", "p0 " + "1" * 5000 + "\n")),
    Case("list tag negative", "toy", TRAIN, refused("train_cls.txt:1"), text("toy/train_cls.txt", "p0 -1\n")),
    Case("list binary", "toy", TRAIN, refused("train_cls.txt"), text("toy/train_cls.txt", b"\xff\xfe\0")),
    Case("list empty", "toy", TRAIN, refused("train_cls.txt"), text("toy/train_cls.txt", "")),
    Case("list with a path upwards", "toy", TRAIN, either(), text("toy/train_cls.txt", "../../x 0\n")),

    Case("find system folders", "photos", PREPARE, works("system", check=_classes("cat", "dog")), every(
        picture("photos/cat/@eaDir/cat0.jpg/SYNOPHOTO_THUMB_M.jpg", "RGB"), picture("photos/cat/@eaDir/cat1.jpg/SYNOPHOTO_THUMB_M.jpg", "RGB"),
        picture("photos/.thumbnails/x.jpg", "RGB"), picture("photos/cat/._cat0.jpg", "RGB"), text("photos/cat/Thumbs.db", "x"))),
    Case("find a folder without permission", "photos", "chmod 711 .. && chown -R nobody . && chmod 700 photos/dog && chown root photos/dog && setpriv --reuid=nobody --clear-groups $PY $ROOT/" + " ".join(PREPARE), refused("dog", check=_nothing_written)),
    Case("find suffixes in any case, WebP", "photos", PREPARE, works("6 photos"), every(picture("photos/cat/a.Jpg", "RGB", format="JPEG"), picture("photos/dog/b.WEBP", "RGB", format="WEBP"))),
    Case("find linked class folders", "photos", PREPARE, works(check=_classes("cat", "dog", "horse")), lambda folder: (folder / "photos/horse").symlink_to(_outside(folder))),
    Case("find links in a circle", "photos", PREPARE, works("4 photos"), lambda folder: (folder / "photos/cat/again").symlink_to(folder / "photos")),
    Case("find a broken link", "photos", PREPARE, works("links to missing files"), lambda folder: (folder / "photos/cat/x.jpg").symlink_to("nowhere.jpg")),
    Case("find no photo", "photos", PREPARE, refused("photo"), every(remove("photos/cat"), remove("photos/dog"))),
    Case("find a broken photo", "photos", PREPARE, refused("cat0.jpg", check=_nothing_written), cut("photos/cat/cat0.jpg", 500)),
    Case("find a PNG called JPEG", "photos", PREPARE, works("saved as JPEG"), picture("photos/cat/cat0.jpg", "RGB", format="PNG")),
    Case("find transparent pixels", "photos", PREPARE, works("transparent"), picture("photos/cat/x.png", "RGBA")),
    Case("find 16-bit grey", "photos", PREPARE, works("16-bit"), picture("photos/cat/x.png", "I;16")),
    Case("find a file system without links", "photos", "mkdir bin; PYTHONPATH=$PWD/bin $PY $ROOT/" + " ".join(PREPARE), works("cop"), text("bin/sitecustomize.py", "import os, errno\ndef refuse(*a, **k):\n    raise OSError(errno.EPERM, 'Operation not permitted', str(a[-1]))\nos.symlink = os.link = refuse\n"), seconds=60),

    *(Case(f"table cell {cell}", "photos", TABLE, works(check=_classes(*names)), _table(cell)) for cell, names in (
        ("\"['cat', 'dog']\"", ("cat", "dog")), ('"{""choices"":[""cat"",""dog""]}"', ("cat", "dog")), ('"cat, dog"', ("cat", "dog")),
        ("Cat", ("cat", "dog")), ("cat\tdog", ("cat", "dog")), ('"cat\ndog"', ("cat", "dog")), ("cat、dog", ("cat", "dog")), ("cat\u200b", ("cat", "dog")), ('" cat "', ("cat", "dog")), ("cat;dog", ("cat", "dog")), ('"[""cat""]"', ("cat", "dog")))),
    *(Case(f"table cell {cell!r} is refused", "photos", TABLE, refused(check=_nothing_written), _table(cell)) for cell in (
        "<b>cat</b>", "{cat", "nan", "a/b", "_background_", "=SUM(A1)", "cat\\dog", "'cat'")),
    Case("table names without suffix or in another case", "photos", TABLE, works(check=_classes("cat", "dog")), _no_suffix),
    Case("table of 10,000 names that are no photos", "photos", TABLE, refused("10000 rows"), _many, seconds=25),
    Case("table with a field of 200 KB", "photos", TABLE, either(), _table("cat" * 70_000)),
    Case("table in Latin-1", "photos", TABLE, works("Latin-1"), text("tags.csv", ROWS.format("k\xe4fer").encode("latin-1"))),
    Case("table in UTF-16", "photos", TABLE, works(), text("tags.csv", ROWS.format("k\xe4fer").encode("utf-16"))),
    Case("table binary", "photos", TABLE, refused("tags.csv"), text("tags.csv", bytes(range(256)))),
    Case("table without a known header", "photos", TABLE, refused("header"), _table("cat", "a,b")),
    Case("table with an open quote", "photos", TABLE, either(), _table('"cat')),
    Case("table of a photo twice, other tags", "photos", TABLE, works("several rows"), text("tags.csv", ROWS.format("cat") + "cat0.jpg,dog\n")),
    Case("table 300 classes in --classes", "photos", [*PREPARE, "--classes=c.txt"], refused("300", check=_nothing_written), text("c.txt", "cat\ndog\n" + "".join(f"c{n}\n" for n in range(298)))),
    Case("table --classes of another encoding", "photos", [*PREPARE, "--classes=c.txt"], refused("c.txt"), text("c.txt", b"cat\ndog\n\xe9\n")),

    Case("coco as it should be", "empty", COCO, works(), coco(lambda content: None)),
    Case("coco iscrowd missing", "empty", COCO, works(), coco(_drop("iscrowd"))),
    Case("coco area missing", "empty", COCO, works(), coco(_drop("area"))),
    *(Case(f"coco {key} missing", "empty", COCO, refused("instances_train2014.json", key, check=_nothing_written), coco(_drop(key))) for key in ("category_id", "segmentation", "image_id")),
    Case("coco file_name missing", "empty", COCO, refused("instances_train2014.json", "file_name", check=_nothing_written), coco(_drop("file_name", "images"))),
    Case("coco width missing", "empty", COCO, refused("instances_train2014.json", "width", check=_nothing_written), coco(_drop("width", "images"))),
    *(Case(f"coco {what}", "empty", COCO, refused("instances_train2014.json", "1", check=_nothing_written), coco(_put(**value))) for what, value in (
        ("a polygon of odd length", {"segmentation": [[1, 1, 5, 1, 5, 5, 7]]}), ("run lengths of another size", {"segmentation": {"counts": [10, 5], "size": [3, 5]}}),
        ("a category that is none", {"category_id": 999}), ("an image that is none", {"image_id": 99}), ("a polygon of text", {"segmentation": [["a"] * 6]}),
        ("segmentation a number", {"segmentation": 7}), ("area text", {"area": "big"}), ("a polygon with NaN", {"segmentation": [[float("nan")] * 6]}))),
    Case("coco a polygon outside of the image", "empty", COCO, works(), coco(_put(segmentation=[[-50, -50, 900, -50, 900, 900]]))),
    Case("coco two images of one file", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), coco(_twice)),
    Case("coco a blank in a name", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), every(coco(lambda c: c["images"][0].update(file_name="a b.jpg")), picture("coco/train2014/a b.jpg", "RGB", size=(20, 16)))),
    Case("coco a split without annotations", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), coco(lambda c: c.update(annotations=[]))),
    Case("coco one id with two files", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), every(coco(lambda c: c["images"].append({**c["images"][0], "file_name": "b.jpg"})), picture("coco/train2014/b.jpg", "RGB", size=(20, 16)))),
    Case("coco an image name of both splits", "empty", COCO, refused("instances_", check=_nothing_written), every(coco(lambda c: c["images"][0].update(file_name="COCO_val2014_000000000001.jpg")), picture("coco/train2014/COCO_val2014_000000000001.jpg", "RGB", size=(20, 16)))),
    Case("coco an infinite size", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), coco(lambda c: c["images"][0].update(height=float("inf")))),
    Case("coco a polygon of a billion pixels", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), coco(_put(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]))),
    Case("coco no JSON", "empty", COCO, refused("instances_train2014.json", check=_nothing_written), every(coco(lambda c: None), text("coco/annotations/instances_train2014.json", "<html>"))),
    Case("coco an image cut short", "empty", COCO, refused("000000000001.jpg", check=_nothing_written), every(coco(lambda c: None), cut("coco/train2014/COCO_train2014_000000000001.jpg", 100))),
    Case("coco an image of another size than it says", "empty", COCO, either("instances_train2014.json|size"), coco(lambda c: c["images"][0].update(width=99))),
)  # fmt: skip


def _outside(folder: Path) -> Path:
    picture("elsewhere/h0.jpg", "RGB")(folder)
    return folder / "elsewhere"
