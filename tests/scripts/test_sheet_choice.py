"""The contact sheet shows typical images: those at the median of their class."""

import numpy as np
import pytest

from scripts.sheet_choice import BY_LIST, BY_MEDIAN, typical_images
from utils.cam.artefact import write_cam
from utils.data.images import write_label_png
from utils.report.pictures import Sources
from utils.runs.paths import RunPaths

WIDTH = 8
RIGHT = {"a": 8, "b": 2, "c": 5, "d": 7, "e": 1}  # pixels of the object that the label of an image has


@pytest.fixture
def sources(tmp_path):
    """Five images of class one, the last two of class two as well."""
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


def test_without_labels_the_list_decides(sources, tmp_path):
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    assert typical_images(sources, sorted(RIGHT), 2) == (["a", "c"], BY_LIST)
