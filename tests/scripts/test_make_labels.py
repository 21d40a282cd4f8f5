import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import make_labels, score_cams
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.cam.artefact import write_cam
from utils.config.options import LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import save_options
from utils.data.images import read_label, write_image, write_label_png
from utils.files.locate import PROJECT_ROOT


@pytest.fixture
def named(tmp_path):
    return {**make_small_run(tmp_path), "label_dir": str(tmp_path / "labels")}


def make(named, **changes):
    return make_labels.run(LabelOptions(**{**named, "threshold": 0.2, "num_workers": 1, **changes}))


def row(folder, name):
    label = read_label(folder / f"{name}.png")
    assert label.shape == (HEIGHT, WIDTH) and (label == label[0]).all()
    return label[0].tolist()


def test_labels_are_the_strongest_class_above_the_threshold(named):
    folder = make(named)
    assert row(folder, "a") == [1, 1, 1, 1, 0, 0]
    assert row(folder, "b") == [1, 1, 1, 2, 2, 2]
    assert row(folder, "c") == [0] * 6
    assert Image.open(folder / "a.png").mode == "P"


def test_class_as_strong_as_the_threshold_is_background(named):
    assert row(make(named, threshold=0.4), "a") == [1, 1, 1, 0, 0, 0]


def test_pixels_in_the_ignore_band_are_255(named):
    folder = make(named, threshold=0.5, ignore_below=0.2)
    assert row(folder, "a") == [1, 1, 1, 255, 0, 0]
    assert row(folder, "c") == [0] * 6


@pytest.mark.parametrize("band", [{"threshold": 1.5}, {"threshold": 0.2, "ignore_below": 0.2}, {"ignore_below": -0.1}])
def test_illegal_thresholds_are_refused(named, band):
    with pytest.raises(ValueError, match="threshold"):
        make(named, **band)


def test_best_threshold_of_the_run_is_the_default(named, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run evaluate\.py --experiment_name exp first, or give --threshold"):
        make(named, threshold=None)
    scored = {key: value for key, value in named.items() if key != "label_dir"}
    score_cams.run(ScoreOptions(**scored, num_workers=1))
    assert row(make(named, threshold=None), "a") == [1, 1, 1, 0, 0, 0]  # 0.4 is the best
    other = shutil.copytree(tmp_path / "runs" / "exp" / "cam", tmp_path / "other")
    score_cams.run(ScoreOptions(**scored, num_workers=1, pred_dir=str(other)))
    with pytest.raises(ValueError, match="not of this run's CAMs"):
        make(named, threshold=None)


def test_labels_are_joined_by_name_whatever_the_order_of_the_list(named, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("c\nb 1 0\na 0\n")
    folder = make(named, image_list=str(listing))
    assert row(folder, "a")[0] == 1 and row(folder, "b")[-1] == 2 and row(folder, "c")[0] == 0


def test_second_run_makes_only_what_is_missing(named):
    folder = make(named)
    write_label_png(folder / "a.png", np.full((HEIGHT, WIDTH), 2, np.uint8))
    (folder / "b.png").unlink()
    make(named)
    assert row(folder, "a") == [2] * 6
    assert row(folder, "b") == [1, 1, 1, 2, 2, 2]
    make(named, overwrite=True)
    assert row(folder, "a") == [1, 1, 1, 1, 0, 0]


def test_label_older_than_its_cam_is_made_again(named):
    folder = make(named)
    write_label_png(folder / "a.png", np.full((HEIGHT, WIDTH), 2, np.uint8))
    os.utime(folder / "a.png", (0, 0))
    make(named)
    assert row(folder, "a") == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("change", [{"threshold": 0.5}, {"ignore_below": 0.15}, {"crf": True}])
def test_labels_of_other_settings_are_not_mixed(named, change, tmp_path):
    folder = make(named)
    with pytest.raises(FileExistsError, match="labels of other settings"):
        make(named, **change)
    listing = tmp_path / "list.txt"
    listing.write_text("b\n")
    make(named, **change, overwrite=True, image_list=str(listing))
    assert sorted(path.name for path in folder.iterdir()) == ["b.png", "label_settings.json"]


def test_folder_of_foreign_pngs_is_left_alone(named):
    with pytest.raises(FileExistsError, match=r"no label_settings\.json"):
        make(named, label_dir=str(Path(named["dataset"]) / "SegmentationClass"), overwrite=True)


def test_missing_files_are_counted_before_any_label(named, tmp_path):
    (tmp_path / "runs" / "exp" / "cam" / "b.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 CAMs are missing \(b\.npz\): run test_l2g\.py"):
        make(named)
    make_small_run(tmp_path)
    (Path(named["dataset"]) / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing \(c\.jpg\)"):
        make(named)
    assert not Path(named["label_dir"]).exists()


def test_cam_of_another_size_is_named_before_any_label(named, tmp_path):
    write_cam(tmp_path / "runs" / "exp" / "cam" / "b.npz", [0], np.zeros((1, 5, 7), np.uint8))
    with pytest.raises(ValueError, match=r"1 of 3 CAMs .*b \(CAM 7x5, image 6x4\)"):
        make(named)
    assert not Path(named["label_dir"]).exists()


def test_crf_moves_the_label_to_the_edge_in_the_image(named, tmp_path):
    cam = np.zeros((1, 24, 32), np.uint8)
    cam[:, :, 18:] = 255
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, 16:] = 255
    write_cam(tmp_path / "runs" / "exp" / "cam" / "a.npz", [1], cam)
    write_image(Path(named["dataset"]) / "JPEGImages" / "a.jpg", image)
    label = read_label(make(named, crf=True) / "a.png")
    assert (label == np.where(np.arange(32) >= 16, 2, 0)).mean() > 0.99


def test_settings_of_the_run_are_followed(named, tmp_path):
    listing = tmp_path / "mine.txt"
    listing.write_text("a 0\n")
    trained = TrainOptions(dataset=named["dataset"], train_list=str(listing))
    save_options(trained, tmp_path / "runs" / "exp" / "config.yaml")
    folder = make(named, dataset=None)
    assert sorted(path.name for path in folder.glob("*.png")) == ["a.png"]


def test_shell_script_works_from_any_folder(named, tmp_path):
    flags = [f"--{key}={value}" for key, value in named.items() if key != "experiment_name"]
    command = [PROJECT_ROOT / "gen_gt_voc.sh", "exp", *flags, "--threshold=0.2", "--num_workers=2"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHON": sys.executable}, check=True)
    assert row(tmp_path / "labels", "a") == [1, 1, 1, 1, 0, 0]
