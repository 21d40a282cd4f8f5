"""The contact sheet shows typical images: those nearest to the median of their class."""

import numpy as np
import pytest

from scripts.sheet_choice import BY_CLASS, BY_MEDIAN, MOST_CLASSES, typical_images
from utils.cam.artefact import write_cam
from utils.data.images import write_label_png
from utils.report.pictures import Sources, spread_over_classes
from utils.runs.paths import RunPaths

WIDTH = 8
RIGHT = {"a": 8, "b": 2, "c": 5, "d": 7, "e": 1}  # pixels of the object that the label of an image has


@pytest.fixture
def sources(tmp_path):
    """Five images of class one; the last two are also of class two."""
    paths = RunPaths.of(str(tmp_path / "runs"), "exp")
    for name, right in RIGHT.items():
        keys = [0, 1] if name in "de" else [0]
        write_cam(paths.cam_dir / f"{name}.npz", keys, np.zeros((len(keys), 1, WIDTH), np.uint8))
        label = np.zeros((1, WIDTH), np.uint8)
        label[:, :right] = 1
        write_label_png(tmp_path / "labels" / f"{name}.png", label)
        write_label_png(tmp_path / "masks" / f"{name}.png", np.ones((1, WIDTH), np.uint8))
    return Sources(paths, ("one", "two"), tmp_path, None, tmp_path / "labels", tmp_path / "masks")


def test_each_class_shows_its_median(sources):
    assert typical_images(sources, sorted(RIGHT), 2) == (["c", "e"], BY_MEDIAN)


def test_no_image_is_shown_twice(sources):
    chosen, _ = typical_images(sources, sorted(RIGHT), 6)
    assert len(chosen) == len(set(chosen))


def test_without_labels_the_classes_show_evenly_over_the_list(sources, tmp_path):
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    assert typical_images(sources, sorted(RIGHT), 2) == (["a", "d"], BY_CLASS)


def test_a_class_without_a_score_shows_too(sources, tmp_path):
    for name in "de":
        (tmp_path / "labels" / f"{name}.png").unlink()
    chosen, rule = typical_images(sources, sorted(RIGHT), 2)
    assert chosen == ["c", "d"] and rule == f"{BY_MEDIAN}; the others {BY_CLASS}"


@pytest.mark.parametrize("count", [5, 7, 24, 30])
def test_classes_that_take_turns_all_show(count):
    """As in a list whose every third image is of one class: stepping evenly over it would show that class alone."""
    names = [f"{number:02}" for number in range(72)]
    tags_of = {name: (int(name) % 3,) for name in names}
    chosen = spread_over_classes(names, tags_of, count)
    shown = [sum(tags_of[name] == (tag,) for name in chosen) for tag in range(3)]
    assert len(chosen) == len(set(chosen)) == count and max(shown) - min(shown) <= count % 3


def test_images_of_several_classes_show_where_classes_are_more_than_images(sources, tmp_path):
    names = list("abcdef")
    tags_of = {"a": (0,), "b": (1,), "c": (0, 2, 3), "d": (4,), "e": (1, 4), "f": ()}
    assert spread_over_classes(names, tags_of, 2) == ["c", "e"]
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    assert typical_images(sources, sorted(RIGHT), 1) == (["d"], f"{MOST_CLASSES}, 2 of 2")
