"""The demo data: reproducible, in VOC's layout, and as difficult as documented."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.demo.preview import CELL
from scripts.demo.scene import BACKGROUND_BOUND, draw_scene, with_rings
from scripts.demo.sprites import BODY_OF_CLASS, CLASS_NAMES, PART, draw_sprite
from scripts.make_demo_data import DemoDataOptions, run
from utils.data.catalog import IGNORE_INDEX
from utils.data.palette import PALETTE
from utils.errors import UserError

NUM_TRAIN, NUM_VAL = 6, 3


def make(out: Path, **changes) -> Path:
    return run(DemoDataOptions(**{"out": out, "seed": 5, "num_train": NUM_TRAIN, "num_val": NUM_VAL, **changes}))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def tags_by_name(folder: Path) -> dict[str, list[int]]:
    lines = [line for split in ("train", "val") for line in (folder / f"{split}_cls.txt").read_text().splitlines()]
    return {name: [int(tag) for tag in tags] for name, *tags in map(str.split, lines)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("demo") / "data")


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([9, index])) for index in range(40)]


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(demo, tmp_path):
    assert digests(make(tmp_path / "again", num_workers=2)) == digests(demo)


def test_a_picture_does_not_depend_on_how_many_are_drawn(demo, tmp_path):
    fewer, all_files = digests(make(tmp_path / "fewer", num_train=2, num_val=1)), digests(demo)
    pictures = [path for path in fewer if "/" in path]
    assert len(pictures) == 3 * 3
    assert all(fewer[path] == all_files[path] for path in pictures)


def test_another_seed_gives_other_pictures(demo, tmp_path):
    other, this = digests(make(tmp_path / "other", seed=6)), digests(demo)
    assert other.keys() == this.keys()
    assert all(other[path] != this[path] for path in this if path.startswith("JPEGImages/"))


def test_lists_and_folders_name_the_same_pictures(demo):
    train, val = ((demo / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert (len(train), len(val)) == (NUM_TRAIN, NUM_VAL)
    assert (demo / "train_aug.txt").read_text().split() == train
    assert list(tags_by_name(demo)) == [*train, *val]
    for folder in ("JPEGImages", "SegmentationClass", "Sal"):
        assert sorted(path.stem for path in (demo / folder).iterdir()) == sorted([*train, *val])
    assert tuple((demo / "classes.txt").read_text().split()) == CLASS_NAMES


def test_masks_contain_exactly_the_tagged_classes(demo):
    for name, tags in tags_by_name(demo).items():
        mask = np.asarray(Image.open(demo / "SegmentationClass" / f"{name}.png"))
        assert set(np.unique(mask)) - {0, IGNORE_INDEX} == {tag + 1 for tag in tags}
        assert tags and all(0 <= tag < len(CLASS_NAMES) for tag in tags)


def test_image_mask_and_saliency_agree_in_size_and_kind(demo):
    for name in tags_by_name(demo):
        image = Image.open(demo / "JPEGImages" / f"{name}.jpg")
        mask = Image.open(demo / "SegmentationClass" / f"{name}.png")
        saliency = Image.open(demo / "Sal" / f"{name}.png")
        assert (image.mode, mask.mode, saliency.mode) == ("RGB", "P", "L")
        assert image.size == mask.size == saliency.size
        assert all(128 <= side <= 160 for side in image.size)
        colours = np.array(mask.getpalette(), np.uint8).reshape(-1, 3)
        assert np.array_equal(colours, PALETTE[: len(colours)])


def test_the_preview_shows_each_class_that_there_is(demo):
    sheet = Image.open(demo / "preview.jpg")
    assert sheet.width > 6 * CELL[0] and sheet.height > CELL[1]


def test_a_ring_of_one_ignored_pixel_goes_around_an_object():
    labels = np.zeros((7, 7), np.uint8)
    labels[3, 3] = 4
    expected = np.zeros((7, 7), np.uint8)
    expected[2:5, 2:5] = IGNORE_INDEX
    expected[3, 3] = 4
    assert np.array_equal(with_rings(labels), expected)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_the_telling_part_is_small(name):
    sprite = draw_sprite(name, np.random.default_rng(0))
    share = np.count_nonzero(sprite.regions == PART) / np.count_nonzero(sprite.regions)
    assert 0.10 <= share <= 0.20


def test_two_classes_share_each_body():
    for body in set(BODY_OF_CLASS):
        pair = [name for name, owned in zip(CLASS_NAMES, BODY_OF_CLASS, strict=True) if owned == body]
        assert len(pair) == 2
        # the same random numbers draw the same body; only the part differs
        one, other = (draw_sprite(name, np.random.default_rng(1)).regions for name in pair)
        either_part = (one == PART) | (other == PART)
        assert np.array_equal(one[~either_part], other[~either_part])


@pytest.mark.slow
def test_bound_classes_nearly_always_stand_on_their_background(scenes):
    for name, background in BACKGROUND_BOUND.items():
        tag = CLASS_NAMES.index(name)
        with_class = [scene.background == background for scene in scenes if tag in scene.tags]
        without = [scene.background == background for scene in scenes if tag not in scene.tags]
        assert np.mean(with_class) >= 0.7
        assert np.mean(without) <= 0.2


def test_objects_are_varied_in_size_and_number(scenes):
    shares = [scene.is_object.mean() for scene in scenes]
    assert min(shares) < 0.15 and max(shares) > 0.3
    assert {1, 2} <= {len(scene.tags) for scene in scenes} <= {1, 2, 3}


def test_saliency_is_near_the_objects_but_wrong_as_a_detector_is(scenes):
    errors = [np.abs(scene.saliency / 255 - scene.is_object).mean() for scene in scenes]
    overlap = sum(np.count_nonzero((scene.saliency >= 128) & scene.is_object) for scene in scenes)
    union = sum(np.count_nonzero((scene.saliency >= 128) | scene.is_object) for scene in scenes)
    assert 0.08 < np.mean(errors) < 0.20
    assert 0.5 < overlap / union < 0.8
    assert min(errors) > 0.01


def test_the_record_says_how_the_data_was_made(demo):
    record = json.loads((demo / "demo.json").read_text())
    assert record["options"] == {"seed": 5, "num_train": NUM_TRAIN, "num_val": NUM_VAL}
    assert record["background_bound"] == BACKGROUND_BOUND
    assert record["pictures"] == {"train": NUM_TRAIN, "val": NUM_VAL}


def test_a_folder_with_the_same_data_is_left_alone(demo, capsys):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    make(demo)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


def test_a_folder_with_other_demo_data_is_an_error_that_says_what_to_do(demo):
    with pytest.raises(UserError, match="--out"):
        make(demo, seed=7)


def test_a_folder_of_someone_else_is_not_touched(tmp_path):
    (tmp_path / "own.txt").write_text("mine")
    with pytest.raises(UserError, match=r"make_demo_data.*--out"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


def test_a_failed_run_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("scripts.make_demo_data._write_lists", fail)
    with pytest.raises(OSError):
        make(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("field", "value"), [("num_train", 0), ("num_val", -1), ("seed", -1)])
def test_impossible_options_are_refused(tmp_path, field, value):
    with pytest.raises(UserError, match=f"--{field}"):
        make(tmp_path / "data", **{field: value})
