"""COCO's downloads are converted to the folder that the scripts read."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts.prepare_coco import PrepareCocoOptions, run
from tests.small_downloads import HEIGHT, WIDTH, coco_category, make_coco
from utils.data.catalog import COCO_CLASSES, IGNORE_INDEX
from utils.data.dataset import open_dataset
from utils.data.images import read_label
from utils.errors import UserError

FIRST, SECOND = "COCO_train2014_000000000009", "COCO_train2014_000000000025"
VAL = "COCO_val2014_000000000042"
DOG, CAT, PERSON, TOOTHBRUSH = (COCO_CLASSES.index(name) for name in ("dog", "cat", "person", "toothbrush"))


def prepare(folder, **more):
    return run(PrepareCocoOptions(**{"coco": str(folder / "coco"), "out": folder / "coco14", "num_workers": 1, **more}))


def lines(path):
    return path.read_text().splitlines()


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    make_coco(tmp_path)
    return tmp_path


def test_lists_hold_the_images_with_annotations_and_their_tags(folder, capsys):
    out = prepare(folder)
    assert lines(out / "train.txt") == [FIRST, SECOND]
    assert lines(out / "train_cls.txt") == [f"{FIRST} {PERSON} {CAT} {DOG}", f"{SECOND} {TOOTHBRUSH}"]
    assert lines(out / "val.txt") == [VAL]
    assert lines(out / "val_cls.txt") == [f"{VAL} {COCO_CLASSES.index('traffic light')}"]
    assert open_dataset(out).classes == COCO_CLASSES
    assert "train_cls.txt: 2 images: the official list has 82,081" in capsys.readouterr().out


def test_smaller_instances_lie_on_top_and_crowds_under_all(folder):
    label = read_label(prepare(folder) / "SegmentationClass" / f"{FIRST}.png")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :5] = PERSON + 1
    expected[1:7, 2:12] = CAT + 1
    expected[3:5, 4:7] = DOG + 1
    assert np.array_equal(label, expected)


def test_crowds_can_be_ignored(folder):
    label = read_label(prepare(folder, crowd="ignore") / "SegmentationClass" / f"{FIRST}.png")
    assert set(np.unique(label)) == {0, CAT + 1, DOG + 1, IGNORE_INDEX}
    assert (label[:, :2] == IGNORE_INDEX).all() and (label[1:7, 2:4] == CAT + 1).all()


def test_images_are_linked_and_only_those_that_are_listed(folder):
    out = prepare(folder)
    assert sorted(path.stem for path in (out / "JPEGImages").iterdir()) == sorted([FIRST, SECOND, VAL])
    assert all(path.is_symlink() and path.is_file() for path in (out / "JPEGImages").iterdir())


def test_a_second_run_makes_only_what_is_missing(folder, capsys):
    masks = prepare(folder) / "SegmentationClass"
    kept, stamp = masks / f"{FIRST}.png", (masks / f"{FIRST}.png").stat().st_mtime_ns
    (masks / f"{SECOND}.png").unlink()
    prepare(folder)
    assert (masks / f"{SECOND}.png").is_file() and kept.stat().st_mtime_ns == stamp
    assert "1 masks written, 2 kept" in capsys.readouterr().out


def test_masks_of_two_settings_never_stand_together(folder):
    prepare(folder)
    with pytest.raises(UserError, match=r"crowd: was class, is ignore"):
        prepare(folder, crowd="ignore")
    prepare(folder, crowd="ignore", overwrite=True)


def test_masks_of_changed_annotations_are_not_kept(folder):
    prepare(folder)
    path = next(folder.rglob("instances_train2014.json"))
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match=r"annotations: was .*--overwrite"):
        prepare(folder)
    prepare(folder, overwrite=True)


def test_polygons_without_area_cover_nothing(folder):
    dog = {"image_id": 25, "category_id": coco_category("dog"), "iscrowd": 0, "area": 0}
    flat = [{"id": 90 + k, "segmentation": shape, **dog} for k, shape in enumerate(([[1, 1, 9, 9]], []))]

    def add(content):
        content["annotations"] += flat

    rewrite(folder / "coco" / "annotations" / "instances_train2014.json", add)
    out = prepare(folder)
    assert set(np.unique(read_label(out / "SegmentationClass" / f"{SECOND}.png"))) == {0, TOOTHBRUSH + 1}
    assert f"{SECOND} {DOG} {TOOTHBRUSH}" in lines(out / "train_cls.txt")


def test_other_classes_are_refused(folder):
    rewrite(
        folder / "coco" / "annotations" / "instances_val2014.json",
        lambda content: content["categories"][0].update(name="unicorn"),
    )
    with pytest.raises(UserError, match=r"instances_val2014\.json: 80 .*unicorn"):
        prepare(folder)
    assert not (folder / "coco14").exists()


def test_missing_pieces_and_images_are_named(folder):
    image = folder / "coco" / "val2014" / f"{VAL}.jpg"
    image.unlink()
    with pytest.raises(UserError, match=r"val2014: 1 of 1 "):
        prepare(folder)
    image.parent.rmdir()
    with pytest.raises(UserError, match=r"--coco: .*val2014"):
        prepare(folder)
    assert not (folder / "coco14").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": [], "annotations": []}'])
def test_a_file_that_is_something_else_is_named(folder, content):
    (folder / "coco" / "annotations" / "instances_train2014.json").write_text(content)
    with pytest.raises(UserError, match=r"instances_train2014\.json"):
        prepare(folder)


def test_an_image_that_is_cut_short_is_named_before_anything_is_written(folder):
    path = folder / "coco" / "train2014" / f"{FIRST}.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=f"1 images: {FIRST}"):
        prepare(folder)
    assert not (folder / "coco14").exists()


def test_an_image_name_in_both_splits_is_refused_before_anything_is_written(folder):
    train, val = (next(folder.rglob(f"instances_{split}2014.json")) for split in ("train", "val"))
    names = [json.loads(path.read_text())["images"][0]["file_name"] for path in (train, val)]
    val.write_text(val.read_text().replace(names[1], names[0]))
    image = next(folder.rglob(names[1]))
    image.rename(image.with_name(names[0]))
    with pytest.raises(UserError, match=Path(names[0]).stem) as error:
        prepare(folder)
    assert str(val) in str(error.value) and not list(folder.rglob("train_cls.txt"))
