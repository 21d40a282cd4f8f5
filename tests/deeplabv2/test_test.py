"""Testing, the CRF and prediction with a trained network: files, scores, continuation, refusals."""

import csv
import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from deeplabv2 import crf, labelling, predict, test, train
from deeplabv2.inference import StepSettings, infer_batch, load_trained, make_network
from deeplabv2.logits import read_logits
from deeplabv2.photos import photos_of
from deeplabv2.predict import PredictSettings
from deeplabv2.scoring import Scoring
from deeplabv2.settings import Settings
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.data.images import read_label, write_label_png
from utils.errors import UserError
from utils.metrics import ConfusionMatrix
from utils.runs.segmentation import SegmentationPaths
from utils.training.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    """The output folder is recorded beside the results, not in the project."""
    monkeypatch.setattr("utils.runs.segmentation.locate.PROJECT_ROOT", tmp_path / "project")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = make_segmentation_data(tmp_path_factory.mktemp("segmentation"))
    train.run(small_settings(data, Settings, SOLVER__ITER_MAX=1))
    return data


@pytest.fixture
def make(trained, tmp_path):
    """Settings of a step after training, in a separate folder."""
    shutil.copytree(trained.parent / "out", tmp_path / "out")

    def settings(settings_class=StepSettings, **changes):
        own = {"EXP__OUTPUT_DIR": str(tmp_path / "out"), "num_workers": 1}
        return small_settings(trained, settings_class, **{**own, **changes})

    return settings


def places_of(settings):
    return SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN)


def scores_by_hand(trained, label_of):
    matrix = ConfusionMatrix(3)
    for name in ("v0", "v1", "v2"):
        matrix.update(label_of(name), read_label(trained / "SegmentationClass" / f"{name}.png"))
    return matrix.scores()


def test_scores_are_those_of_the_stored_logits(make, trained, capsys):
    settings = make()
    scores = json.loads(test.run(settings).read_text())
    folder = places_of(settings).logits_dir("val")
    expected = scores_by_hand(trained, lambda name: read_logits(folder / f"{name}.npz").label())
    assert scores["mean_iou"] == pytest.approx(expected.mean_iou)
    assert scores["pixel_accuracy"] == pytest.approx(expected.pixel_accuracy)
    assert scores["mean_accuracy"] == pytest.approx(expected.mean_accuracy)
    assert scores["frequency_weighted_iou"] == pytest.approx(expected.frequency_weighted_iou)
    assert set(scores["class_iou"]) == {"background", "cat", "dog"}
    assert scores["images"] == 3 and scores["step"] == 1 and scores["checkpoint"].endswith("checkpoint_final.pth")
    printed = capsys.readouterr().out
    assert "mIoU" in printed and "  cat " in printed


def test_batches_of_one_size_give_the_logits_of_single_images(make):
    settings = make()
    test.run(settings)
    folder = places_of(settings).logits_dir("val")
    single = {path.name: read_logits(path) for path in folder.glob("*.npz")}
    assert len(single) == 3
    for path in folder.glob("*.npz"):
        path.unlink()
    test.run(make(SOLVER__BATCH_SIZE__TEST=2))
    for name, stored in single.items():
        again = read_logits(folder / name)
        assert (again.labels == stored.labels).all() and again.size == stored.size
        assert np.allclose(again.logits, stored.logits, atol=2e-3)


def test_an_interrupted_test_and_crf_make_only_what_is_missing(make):
    settings = make()
    test.run(settings)
    crf.run(settings)
    places = places_of(settings)
    stay = [places.logits_dir("val") / "v0.npz", places.crf_dir("val") / "v0.png"]
    for path in stay:
        os.utime(path, ns=(path.stat().st_mtime_ns + 5 * 10**9,) * 2)
    times = {path: path.stat().st_mtime_ns for path in stay}
    (places.logits_dir("val") / "v1.npz").unlink()
    (places.crf_dir("val") / "v2.png").unlink()
    places.scores.unlink()
    places.crf_scores.unlink()
    test.run(settings)
    crf.run(settings)
    assert {path: path.stat().st_mtime_ns for path in stay} == times
    assert len(list(places.logits_dir("val").glob("*.npz"))) == len(list(places.crf_dir("val").glob("*.png"))) == 3


def test_images_are_scored_beside_the_network_and_the_others_after_it(make, monkeypatch):
    beside, add = [], Scoring.add
    monkeypatch.setattr(Scoring, "add", lambda scoring, name: (beside.append(name), add(scoring, name)))
    settings, found = make(), []
    for _ in range(2):
        found.append(json.loads(test.run(settings).read_text()))
        del found[-1]["images_per_second"]
        (places_of(settings).logits_dir("val") / "v1.npz").unlink()
    assert sorted(beside[:3]) == ["v0", "v1", "v2"] and beside[3:] == ["v1"] and found[0] == found[1]


@pytest.mark.parametrize("refined", [False, True])
def test_labels_and_overlays_are_made_beside_the_network(make, trained, tmp_path, monkeypatch, refined):
    """The network waits with its sixth image for the overlay of the first."""
    out, seen = tmp_path / "seen", []

    def waiting(*arguments, **named):
        seen.append(None)
        deadline = time.monotonic() + 60
        while len(seen) == 6 and not list(out.glob("overlays/*.jpg")):
            assert time.monotonic() < deadline, "overlays are only made after the network"
            time.sleep(0.01)
        return infer_batch(*arguments, **named)

    monkeypatch.setattr("deeplabv2.inference.infer_batch", waiting)
    predict.run(make(PredictSettings, image_dir=str(trained / "JPEGImages"), out=str(out), crf=refined))
    assert len(seen) == len(list(out.glob("overlays/*.jpg"))) == 9


def test_an_interrupted_prediction_makes_only_what_is_missing_with_the_same_bytes(make, trained, tmp_path):
    def times(folder):
        return {path: path.stat().st_mtime_ns for path in folder.glob("*/*[gz]")}

    options = {"image_dir": str(trained / "JPEGImages"), "num_workers": 2}
    out = predict.run(make(PredictSettings, out=str(tmp_path / "seen"), **options))
    written = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    before = times(out)
    assert len(before) == 27  # logits, labels and overlays of nine photos
    removed = {out / "logits/v0.npz", out / "labels/v1.png", out / "overlays/v2.jpg"}
    for path in (*removed, out / "summary.csv"):
        path.unlink()
    assert predict.run(make(PredictSettings, out=str(out), **options)) == out
    again = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    assert again == written
    assert {path for path, time_ns in times(out).items() if before[path] != time_ns} == removed


def test_crf_scores_are_those_of_the_labels_it_leaves(make, trained):
    settings = make()
    test.run(settings)
    scores = json.loads(crf.run(settings).read_text())
    folder = places_of(settings).crf_dir("val")
    expected = scores_by_hand(trained, lambda name: read_label(folder / f"{name}.png"))
    assert scores["mean_iou"] == pytest.approx(expected.mean_iou)
    assert scores["crf"]["bi_xy_std"] == 10.0


def test_other_weights_and_other_crf_settings_make_everything_again(make, capsys):
    settings = make()
    test.run(settings)
    crf.run(settings)
    crf.run(make(CRF__POS_W=5.0))
    assert "3 labels of other" in capsys.readouterr().err
    final = places_of(settings).training.final
    state = read_checkpoint(final)
    bias = next(name for name in state["state_dict"] if name.endswith("c0.bias"))
    state["state_dict"][bias] += 5
    write_checkpoint(final, state)
    test.run(settings)
    crf.run(make(CRF__POS_W=5.0))
    assert capsys.readouterr().err.count(" of other ") == 2


def test_both_backends_of_the_crf_give_the_same_labels(make, capsys):
    pytest.importorskip("pydensecrf", reason="pip install pydensecrf2: the reference of the CRF (a C++ compiler)")
    test.run(make())
    folder = places_of(make()).crf_dir("val")
    crf.run(make())
    ours = [read_label(folder / f"{name}.png") for name in ("v0", "v1", "v2")]
    capsys.readouterr()
    crf.run(make(crf_backend="pydensecrf"))
    assert "3 labels of other" in capsys.readouterr().err
    for name, label in zip(("v0", "v1", "v2"), ours):
        assert (read_label(folder / f"{name}.png") == label).mean() > 0.999


def test_labels_of_another_rule_for_competing_labels_are_made_again(make, capsys, monkeypatch):
    settings = make()
    test.run(settings)
    crf.run(settings)
    crf.run(settings)
    assert "0 labels written, 3 kept" in capsys.readouterr().err
    monkeypatch.setattr(labelling, "COMPETING_RATIO", 0.5)
    crf.run(settings)
    assert "3 labels of other" in capsys.readouterr().err


def test_the_crf_without_a_test_names_what_to_run(make):
    with pytest.raises(UserError, match=r"3 of 3 .*main\.py test"):
        crf.run(make())


def test_a_test_without_a_training_names_what_to_run(make):
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: .*main\.py train .*--model_path"):
        test.run(make(EXP__ID="other"))


def test_masks_of_another_size_are_named(make, trained, tmp_path):
    masks = shutil.copytree(trained / "SegmentationClass", tmp_path / "masks")
    write_label_png(masks / "v1.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError, match=r"v1\.npz .*v1\.png: "):
        test.run(make(DATASET__MASK_DIR=str(masks)))


def test_a_published_state_dict_is_used_and_one_of_another_network_refused(make, trained, tmp_path):
    settings = make()
    state = read_checkpoint(places_of(settings).training.final)["state_dict"]
    write_checkpoint(tmp_path / "published.pth", {f"module.{name}": tensor for name, tensor in state.items()})
    network = make_network(settings.MODEL, 3)
    facts = load_trained(network, tmp_path / "published.pth")
    assert facts["step"] is None
    with pytest.raises(UserError, match=r"published\.pth.* 4 labels"):
        load_trained(make_network(settings.MODEL, 4), tmp_path / "published.pth")


@pytest.mark.parametrize("refined", [False, True])
def test_prediction_needs_no_masks_and_leaves_labels_and_overlays(make, trained, tmp_path, refined):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("t0", "v1"):
        shutil.copy(trained / "JPEGImages" / f"{name}.png", photos)
    (photos / "note.txt").write_text("no image")
    options = {"image_dir": str(photos), "out": str(tmp_path / "seen"), "crf": refined}
    out = predict.run(make(PredictSettings, **options))
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    names = ("t0", "v1")
    assert found == {
        "logits/settings.json", "labels/settings.json", "summary.csv",
        *(f"logits/{name}.npz" for name in names),
        *(f"labels/{name}.png" for name in names),
        *(f"overlays/{name}.jpg" for name in names),
    }  # fmt: skip
    for name in names:
        with Image.open(photos / f"{name}.png") as image, Image.open(out / "labels" / f"{name}.png") as label:
            assert label.mode == "P" and label.size == image.size
        with Image.open(out / "overlays" / f"{name}.jpg") as overlay:
            assert overlay.mode == "RGB"
    with pytest.raises(UserError, match=r"--overwrite .*--out"):
        predict.run(make(PredictSettings, **options, IMAGE__MEAN__R=1.0, IMAGE__MEAN__G=2.0, IMAGE__MEAN__B=3.0))


def test_prediction_refuses_empty_folders_and_names_images_of_one_name_apart(make, trained, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    options = {"image_dir": str(photos), "out": str(tmp_path / "seen")}
    with pytest.raises(UserError, match="--image_dir"):
        predict.run(make(PredictSettings, **options))
    (photos / "sub").mkdir()
    for name in ("t0.png", "t0.jpg", "sub/t0.Jpg"):
        shutil.copy(trained / "JPEGImages" / "t0.png", photos / name)
    out = predict.run(make(PredictSettings, **options))
    assert {path.relative_to(out / "labels").as_posix() for path in (out / "labels").rglob("*.png")} == {
        "t0_png.png", "t0_jpg.png", "sub/t0.png",
    }  # fmt: skip


def test_summary_holds_the_area_of_each_class_in_each_photo(make, trained, tmp_path):
    out = predict.run(make(PredictSettings, image_dir=str(trained / "JPEGImages"), out=str(tmp_path / "seen")))
    with (out / "summary.csv").open(newline="") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert len(rows) == 9 and list(rows["t0"]) == ["photo", "pixels", "background", "cat", "dog"]
    for name, row in rows.items():
        label = read_label(out / "labels" / f"{name}.png")
        assert int(row["pixels"]) == label.size
        for value, column in enumerate(("background", "cat", "dog")):
            assert float(row[column]) == pytest.approx((label == value).mean(), abs=1e-6)


def test_patterns_name_photos_and_frames_keep_their_order(trained, tmp_path):
    photo = trained / "JPEGImages" / "t0.png"
    for name in ("frame_10.png", "frame_2.png", "other.png", "cam/frame_1.png", "cam/note.txt", "out/frame_9.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    out = tmp_path / "out"
    assert list(photos_of(str(tmp_path / "frame_*.png"), out)) == ["frame_2", "frame_10"]
    assert list(photos_of(str(tmp_path / "**" / "frame_*"), out)) == ["cam/frame_1", "frame_2", "frame_10"]
    assert list(photos_of(str(tmp_path), out)) == ["cam/frame_1", "frame_2", "frame_10", "other"]
    assert photos_of(str(tmp_path / "other.png"), out) == {"other": tmp_path / "other.png"}
    with pytest.raises(UserError, match=r"--image_dir.*b\*\.png"):
        photos_of(str(tmp_path / "b*.png"), out)
