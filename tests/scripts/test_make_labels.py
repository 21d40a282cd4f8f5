import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts import make_labels, score_cams
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.cam import folders
from utils.cam.artefact import read_cam, write_cam
from utils.cam.exports import irn_export, psa_export
from utils.config.options import LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import save_options
from utils.data.images import read_label, write_image, write_label_png
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT
from utils.files.npy_dict import write_npy_dict
from utils.files.sources import digest_of


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
    with pytest.raises(UserError, match=r"--(threshold|ignore_below)"):
        make(named, **band)


def test_cams_of_an_image_that_an_older_file_replaced_give_no_labels(named, tmp_path):
    image, cam = tmp_path / "toy" / "JPEGImages" / "a.jpg", tmp_path / "runs" / "exp" / "cam" / "a.npz"
    write_cam(cam, *read_cam(cam), made_from=digest_of(image))
    make(named)
    write_image(image, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    os.utime(image, (10**9, 10**9))
    with pytest.raises(UserError, match=r"1 CAMs .*\(a\).*test_l2g\.py"):
        make(named)
    other = shutil.copytree(cam.parent, tmp_path / "other")  # made of something else, e.g. of a network's logits
    make(named, pred_dir=str(other), overwrite=True)


def test_best_threshold_of_the_run_is_the_default(named, tmp_path):
    with pytest.raises(UserError, match=r"evaluate\.py --experiment_name exp .*--threshold"):
        make(named, threshold=None)
    scored = {key: value for key, value in named.items() if key != "label_dir"}
    score_cams.run(ScoreOptions(**scored, num_workers=1))
    assert row(make(named, threshold=None), "a") == [1, 1, 1, 0, 0, 0]  # 0.4 is the best
    other = shutil.copytree(tmp_path / "runs" / "exp" / "cam", tmp_path / "other")
    score_cams.run(ScoreOptions(**scored, num_workers=1, pred_dir=str(other)))
    with pytest.raises(UserError, match=r"cam_scores\.json: .*evaluate\.py"):
        make(named, threshold=None)


@pytest.fixture
def salient(named):
    """Saliency 1 in columns 2 to 5 of a and nowhere in b and c."""
    for name in "abc":
        saliency = np.zeros((HEIGHT, WIDTH), np.uint8)
        saliency[:, 2:] = 255 * (name == "a")
        write_image(Path(named["dataset"]) / "Sal" / f"{name}.png", saliency)
    return named | {"sal_dir": str(Path(named["dataset"]) / "Sal")}


def test_saliency_joined_with_cams_decides_what_is_foreground_and_cams_of_which_class(salient):
    # a: CAM .8 .8 .8 .4 .1 .1; b: CAMs of 1 without saliency
    folder = make(salient, saliency_weight=0.5, threshold=0.3)
    assert row(folder, "a") == [1, 1, 1, 1, 1, 1]
    assert row(folder, "b") == [1, 1, 1, 2, 2, 2]
    assert row(folder, "c") == [0] * 6
    folder = make(salient, saliency_weight=0.5, threshold=0.55, overwrite=True)
    assert row(folder, "a") == [0, 0, 1, 1, 0, 0]


def test_cams_and_saliency_that_disagree_are_ignored_on_request(salient):
    folder = make(salient, saliency_weight=0.5, threshold=0.3, ignore_disagreement=0.85)
    assert row(folder, "a") == [1, 1, 1, 1, 255, 255]
    assert row(folder, "b") == [255] * 6


def test_label_older_than_its_saliency_is_made_again(salient):
    folder = make(salient, saliency_weight=0.5, threshold=0.3)
    write_image(Path(salient["sal_dir"]) / "a.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    os.utime(folder / "a.png", (0, 0))
    make(salient, saliency_weight=0.5, threshold=0.3)
    assert row(folder, "a") == [1, 1, 1, 0, 0, 0]


def test_joining_without_saliency_maps_is_refused_before_any_label(named):
    with pytest.raises(UserError, match=r"make_saliency\.py"):
        make(named, saliency_weight=0.5)
    assert not Path(named["label_dir"]).exists()


def test_saliency_of_another_size_is_named(salient):
    write_image(Path(salient["sal_dir"]) / "b.png", np.zeros((5, 7), np.uint8))
    with pytest.raises(UserError, match=r"b \(CAM 6x4, saliency 7x5\)"):
        make(salient, saliency_weight=0.5)


@pytest.fixture
def segmented(named, tmp_path):
    """a: columns 2 to 5 are one segment; b and c: columns 0 to 3 and 4 to 5."""
    for name in "abc":
        ids = np.zeros((HEIGHT, WIDTH), np.uint16)
        ids[:, 2:] = 1
        if name != "a":
            ids[:, :4], ids[:, 4:] = 300, 2
        write_image(tmp_path / "segments" / f"{name}.png", ids)
    return named | {"segments": str(tmp_path / "segments")}


def test_labels_are_snapped_to_segments(segmented):
    folder = make(segmented, threshold=0.2)  # alone: a 1 1 1 1 0 0, b 1 1 1 2 2 2
    assert row(folder, "a") == [1, 1, 1, 1, 0, 0]  # the segment is half of either
    assert row(folder, "b") == [1, 1, 1, 1, 2, 2]
    assert row(folder, "c") == [0] * 6
    settings = json.loads((folder / "label_settings.json").read_text())
    assert settings["segments"] == {"folder": segmented["segments"], "coverage": 0.5, "share": None}
    assert row(make(segmented, segment_coverage=0.45, update=True), "a") == [1, 1, 0, 0, 0, 0]  # of two, the first


def test_the_ignored_band_lies_between_two_snapped_labels(segmented):
    # a at 0.5: 1 1 1 0 0 0, snapped 1 1 0 0 0 0; at 0.05: all 1, snapped all 1
    assert row(make(segmented, threshold=0.5, ignore_below=0.05), "a") == [1, 1, 255, 255, 255, 255]


def test_labels_of_changed_segments_are_made_again_and_other_settings_are_refused(segmented, tmp_path):
    folder = make(segmented)
    stamp = (folder / "a.png").stat().st_mtime_ns
    write_image(tmp_path / "segments" / "b.png", np.ones((HEIGHT, WIDTH), np.uint16))
    make(segmented)
    assert row(folder, "b") == [1, 1, 1, 2, 2, 2]  # one segment, half of either
    assert (folder / "a.png").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"segments: was .*, is None"):
        make({**segmented, "segments": None})


def test_missing_segments_and_those_of_another_size_are_named_before_any_label(segmented, tmp_path):
    write_image(tmp_path / "segments" / "b.png", np.ones((5, 7), np.uint16))
    with pytest.raises(UserError, match=r"b\.png: .*7x5.*6x4"):
        make(segmented)
    (tmp_path / "segments" / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 segments .*make_segments\.py .*--segments"):
        make(segmented)
    assert not list(Path(segmented["label_dir"]).glob("*.png"))


def test_pixels_of_two_nearly_equal_classes_are_ignored_on_request(named, tmp_path):
    cat, dog = np.full((HEIGHT, WIDTH), 150, np.uint8), np.full((HEIGHT, WIDTH), 140, np.uint8)
    cat[:, :2] = 255
    write_cam(tmp_path / "runs" / "exp" / "cam" / "b.npz", [0, 1], np.stack([cat, dog]))
    folder = make(named, ignore_ambiguous=0.1)
    assert row(folder, "b") == [1, 1, 255, 255, 255, 255]
    assert row(folder, "a") == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("wrong", [{"saliency_weight": 1.5}, {"ignore_disagreement": -0.1}, {"ignore_ambiguous": 1.1}])
def test_weights_outside_0_to_1_are_refused(salient, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        make(salient, **wrong)


def test_best_threshold_is_taken_from_a_sweep_with_the_same_weight_alone(salient):
    scored = {key: value for key, value in salient.items() if key != "label_dir"}
    score_cams.run(ScoreOptions(**scored, num_workers=1))
    with pytest.raises(UserError, match=r"evaluate\.py .* --saliency_weight=0\.5"):
        make(salient, threshold=None, saliency_weight=0.5)
    score_cams.run(ScoreOptions(**scored, num_workers=1, saliency_weight=0.5))
    # in a the object is joined at (.8 + 0) / 2 and (.8 + 1) / 2, the rest at .7, .55: in b it is .5; 0.45 is the best
    assert row(make(salient, threshold=None, saliency_weight=0.5), "b") == [1, 1, 1, 2, 2, 2]


def test_without_masks_the_threshold_is_the_one_at_which_cams_agree_with_saliency(salient):
    scored = {key: value for key, value in salient.items() if key != "label_dir"}
    (Path(salient["dataset"]) / "train.txt").unlink()
    score_cams.run(ScoreOptions(**scored, num_workers=1))
    # columns 3 and 2 of a are salient and seen by CAMs from 0.1 to 0.4, columns 0 and 1 seen and not salient
    assert row(make(salient, threshold=None), "a") == [1, 1, 1, 1, 1, 1]


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
    with pytest.raises(UserError, match="--overwrite"):
        make(named, **change)
    listing = tmp_path / "list.txt"
    listing.write_text("b\n")
    make(named, **change, overwrite=True, image_list=str(listing))
    assert sorted(path.name for path in folder.iterdir()) == ["b.png", "label_settings.json"]


def test_grey_labels_hold_the_same_indices(named, tmp_path):
    colours, grey = make(named), make(named, label_form="grey", label_dir=str(tmp_path / "grey"))
    for name in "abc":
        # imageio, OpenCV and old scipy ignore a palette
        assert Image.open(grey / f"{name}.png").mode == "L"
        np.testing.assert_array_equal(read_label(grey / f"{name}.png"), read_label(colours / f"{name}.png"))
    assert json.loads((grey / "label_settings.json").read_text())["label_form"] == "grey"


@pytest.mark.parametrize("form", ["attention", "psa", "irn"])
def test_published_cam_folders_give_the_labels_of_the_runs_own(named, tmp_path, form):
    expected, folder = make(named), tmp_path / "published"
    for name in "abc":
        keys, cams = read_cam(tmp_path / "runs" / "exp" / "cam" / f"{name}.npz")
        maps = torch.from_numpy(cams / np.float32(255))
        if form == "attention":
            for key, plane in zip(keys, cams):
                write_image(folder / f"{name}_{key}.png", plane)
        else:
            content = psa_export(keys, maps) if form == "psa" else irn_export(keys, maps[:, ::4, ::4], maps)
            write_npy_dict(folder / f"{name}.npy", content)
    listing = tmp_path / "list.txt"  # in the published form: paths, and no tags
    names = "ab" if form == "attention" else "abc"
    listing.write_text("".join(f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n" for name in names))
    changes = {"pred_dir": str(folder), "image_list": str(listing), "label_dir": str(tmp_path / "other")}
    made = make(named, **changes)
    assert sorted(path.stem for path in made.glob("*.png")) == list(names)
    for name in names:
        np.testing.assert_array_equal(read_label(made / f"{name}.png"), read_label(expected / f"{name}.png"))


def test_folder_of_foreign_pngs_is_left_alone(named):
    with pytest.raises(UserError, match=r"label_settings\.json.*--label_dir"):
        make(named, label_dir=str(Path(named["dataset"]) / "SegmentationClass"), overwrite=True)


def test_missing_files_are_counted_before_any_label(named, tmp_path):
    (tmp_path / "runs" / "exp" / "cam" / "b.npz").unlink()
    with pytest.raises(UserError, match=r"1 of 3 .*\(b\.npz\): .*test_l2g\.py"):
        make(named)
    make_small_run(tmp_path)
    (Path(named["dataset"]) / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 3 .*\(c\.jpg\)"):
        make(named)
    assert not Path(named["label_dir"]).exists()


def test_cam_of_another_size_is_named_before_any_label(named, tmp_path):
    write_cam(tmp_path / "runs" / "exp" / "cam" / "b.npz", [0], np.zeros((1, 5, 7), np.uint8))
    with pytest.raises(UserError, match=r"1 of 3 .*b \(CAM 7x5, image 6x4\)"):
        make(named)
    assert not Path(named["label_dir"]).exists()


def test_each_cam_is_unpacked_once(named, monkeypatch):
    unpacked = []
    read = folders.read_cam
    monkeypatch.setattr(folders, "read_cam", lambda path: unpacked.append(path.stem) or read(path))
    make(named)
    assert sorted(unpacked) == ["a", "b", "c"]


@pytest.mark.parametrize("backend", ["lattice", "pydensecrf"])
def test_crf_moves_the_label_to_the_edge_in_the_image(named, tmp_path, backend):
    if backend == "pydensecrf":
        pytest.importorskip("pydensecrf", reason="pip install pydensecrf2: the reference of the CRF (a C++ compiler)")
    cam = np.zeros((1, 24, 32), np.uint8)
    cam[:, :, 18:] = 255
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, 16:] = 255
    write_cam(tmp_path / "runs" / "exp" / "cam" / "a.npz", [1], cam)
    write_image(Path(named["dataset"]) / "JPEGImages" / "a.jpg", image)
    label = read_label(make(named, crf=True, crf_backend=backend) / "a.png")
    assert (label == np.where(np.arange(32) >= 16, 2, 0)).mean() > 0.99


def test_settings_of_the_run_are_followed(named, tmp_path):
    listing = tmp_path / "mine.txt"
    listing.write_text("a 0\n")
    trained = TrainOptions(dataset=named["dataset"], train_list=str(listing))
    save_options(trained, tmp_path / "runs" / "exp" / "config.yaml")
    folder = make(named, dataset=None)
    assert sorted(path.name for path in folder.glob("*.png")) == ["a.png"]


@pytest.mark.slow
def test_shell_script_works_from_any_folder(named, tmp_path):
    flags = [f"--{key}={value}" for key, value in named.items() if key != "experiment_name"]
    command = [PROJECT_ROOT / "gen_gt_voc.sh", "exp", *flags, "--threshold=0.2", "--num_workers=2"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHON": sys.executable}, check=True)
    assert row(tmp_path / "labels", "a") == [1, 1, 1, 1, 0, 0]
