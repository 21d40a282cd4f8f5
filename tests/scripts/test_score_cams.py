import json
from pathlib import Path

import numpy as np
import pytest

from scripts import make_labels, score_cams
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.cam.artefact import read_cam, write_cam
from utils.config.options import LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import save_options
from utils.data.images import read_label, write_image, write_label_png
from utils.errors import UserError
from utils.files.npy_dict import write_npy_dict


@pytest.fixture
def named(tmp_path):
    return make_small_run(tmp_path)


def score(named, **changes):
    return json.loads(score_cams.run(ScoreOptions(**{**named, "num_workers": 1, **changes})).read_text())


def run_dir(named):
    return Path(named["runs_dir"]) / "exp"


def test_table_is_the_one_counted_by_hand(named):
    result = score(named)
    table = {row["threshold"]: row for row in result["thresholds"]}
    assert list(table) == [round(0.05 * step, 2) for step in range(1, 16)]
    # below 0.1 all of a is cat: 24 pixels right in a and b, 12 of a wrong; c is background throughout
    assert table[0.05]["class_iou"] == pytest.approx({"background": 24 / 36, "cat": 24 / 36, "dog": 1.0})
    # from 0.1 the 8 pixels of 0.1 are background, from 0.4 the column of 0.4 too
    assert table[0.35]["class_iou"] == pytest.approx({"background": 32 / 36, "cat": 24 / 28, "dog": 1.0})
    assert table[0.35]["false_positive_rate"] == pytest.approx((4 / 28 + 0) / 2)
    assert table[0.4]["mean_iou"] == pytest.approx(1.0)
    assert result["best_threshold"] == 0.4 and result["best_mean_iou"] == pytest.approx(1.0)
    assert result["images"] == 3


def test_scores_and_plot_are_written_into_the_run(named, capsys):
    score(named)
    written = {path.name for path in run_dir(named).iterdir()}
    assert written == {"cam", "cam_scores.json", "cam_scores.png"}
    printed = capsys.readouterr().out
    assert "Best Th=0.40, mIoU=100.000%" in printed and "dog" in printed


@pytest.mark.slow
def test_number_of_processes_changes_nothing(named):
    assert score(named, num_workers=1) == score(named, num_workers=2)


def test_both_exported_forms_score_as_the_artefact(named, tmp_path):
    expected = score(named)["thresholds"]
    for name in "abc":
        keys, cams = read_cam(run_dir(named) / "cam" / f"{name}.npz")
        maps = cams.astype(np.float32) / 255
        write_npy_dict(tmp_path / "irn" / f"{name}.npy", {"keys": keys, "cam": maps[:, ::4, ::4], "high_res": maps})
        with_background = np.concatenate([[0], keys + 1])
        affinity = {"keys": with_background, "cam": maps[:, ::4, ::4], "hr_cam": maps}
        write_npy_dict(tmp_path / "aff" / f"{name}.npy", affinity)
    assert score(named, mode="npy", pred_dir=str(tmp_path / "irn"))["thresholds"] == expected
    assert score(named, mode="npy", pred_dir=str(tmp_path / "aff"))["thresholds"] == expected


def test_attention_maps_and_random_walks_score_as_the_artefact(named, tmp_path):
    expected = score(named)["thresholds"]
    for name in "abc":
        keys, cams = read_cam(run_dir(named) / "cam" / f"{name}.npz")
        walked = {"keys": np.concatenate([[0], keys + 1]), "rw": cams.astype(np.float32) / 255}
        write_npy_dict(run_dir(named) / "cam_npy_aff" / f"{name}.npy", walked)
        for key, plane in zip(keys, cams):
            write_image(run_dir(named) / "ms" / "attention" / f"{name}_{key}.png", plane)
    assert score(named, mode="rw")["thresholds"] == expected
    assert score(named, mode="npy")["thresholds"] == expected
    (tmp_path / "tagged.txt").write_text("/JPEGImages/a.jpg /Masks/a.png\n/JPEGImages/b.jpg /Masks/b.png\n")
    tagged = {"mask_list": str(tmp_path / "tagged.txt")}
    attention = score(named, pred_dir=str(run_dir(named) / "ms" / "attention"), **tagged)
    assert attention["thresholds"] == score(named, **tagged)["thresholds"]
    assert score(named, mode="attention", **tagged)["thresholds"] == attention["thresholds"]


def test_unsure_pixels_of_irns_labels_count_nowhere(named, tmp_path):
    for name in "abc":
        mask = read_label(Path(named["dataset"]) / "SegmentationClass" / f"{name}.png").copy()
        mask[0] = 255
        write_image(tmp_path / "ir_label" / f"{name}.png", mask)
    assert score(named, mode="png", pred_dir=str(tmp_path / "ir_label"))["mean_iou"] == 1


def test_folder_of_labels_is_scored_without_a_run(named, tmp_path):
    right = {"a": [1, 1, 1, 0, 0, 0], "b": [1, 1, 1, 2, 2, 255], "c": [0, 0, 0, 0, 0, 2]}
    for name, row in right.items():
        write_label_png(tmp_path / "labels" / f"{name}.png", np.tile(np.uint8(row), (HEIGHT, 1)))
    result = score(named, experiment_name="foreign", mode="png", pred_dir=str(tmp_path / "labels"))
    # the ignored column of b counts for nothing, the dog column in c is wrong
    assert result["class_iou"] == pytest.approx({"background": 32 / 36, "cat": 1.0, "dog": 8 / 12})
    assert (tmp_path / "runs" / "foreign" / "label_scores.json").is_file()


def test_data_set_is_the_one_of_the_run(named):
    save_options(TrainOptions(dataset=named["dataset"]), run_dir(named) / "config.yaml")
    assert score(named, dataset=None)["dataset"] == "toy"


def test_absent_class_has_no_score_and_does_not_lower_the_mean(named):
    listing = Path(named["dataset"]) / "cats.txt"
    listing.write_text("a\n")
    best = next(row for row in score(named, mask_list=str(listing))["thresholds"] if row["threshold"] == 0.4)
    assert best["class_iou"]["dog"] is None
    assert best["mean_iou"] == pytest.approx(1.0)


def test_predictions_are_joined_by_name_and_not_by_order(named):
    expected = score(named)
    (Path(named["dataset"]) / "train.txt").write_text("c\nb\na\n")
    assert score(named) == expected


def test_missing_files_are_counted_before_any_work(named):
    for name in "ab":
        (run_dir(named) / "cam" / f"{name}.npz").unlink()
    with pytest.raises(UserError, match=r"2 of 3 .*\(a\.npz, b\.npz\): .*test_l2g\.py"):
        score(named)
    (Path(named["dataset"]) / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 .*\(c\.png\)"):
        score(named)


def test_prediction_of_another_size_is_named(named):
    write_cam(run_dir(named) / "cam" / "b.npz", [0], np.zeros((1, WIDTH, HEIGHT), np.uint8))
    with pytest.raises(UserError, match=r"b\.npz .*b\.png: "):
        score(named)


def test_key_outside_the_classes_is_named(named):
    write_cam(run_dir(named) / "cam" / "b.npz", [2], np.zeros((1, HEIGHT, WIDTH), np.uint8))
    with pytest.raises(UserError, match=r"b\.npz .*label 3: .*0\.\.2"):
        score(named)


@pytest.fixture
def salient(named):
    """Saliency of a and b: columns 0 to 3; none in c."""
    for name in "abc":
        saliency = np.zeros((HEIGHT, WIDTH), np.uint8)
        saliency[:, :4] = 255 * (name != "c")
        write_image(Path(named["dataset"]) / "Sal" / f"{name}.png", saliency)
    return named | {"sal_dir": str(Path(named["dataset"]) / "Sal")}


@pytest.mark.parametrize("support", [0.0, 0.9])
def test_joined_scores_are_those_of_the_labels_at_the_same_threshold(salient, tmp_path, support):
    swept = score(salient, saliency_weight=0.5, saliency_support=support)
    for threshold in (0.3, 0.45, 0.7):
        labels = make_labels.run(
            LabelOptions(
                **salient,
                label_dir=str(tmp_path / "labels"),
                saliency_weight=0.5,
                saliency_support=support,
                threshold=threshold,
                overwrite=True,
                num_workers=1,
            )
        )
        expected = score(salient, mode="png", pred_dir=str(labels))
        found = next(row for row in swept["thresholds"] if row["threshold"] == threshold)
        assert found["class_iou"] == expected["class_iou"]
    assert swept["saliency_weight"] == 0.5 and swept["saliency_support"] == support


def test_without_a_list_of_masks_cams_are_compared_with_saliency(salient):
    (Path(salient["dataset"]) / "train.txt").unlink()
    result = score(salient)
    table = {row["threshold"]: row["iou"] for row in result["thresholds"]}
    # a: columns 0..3 are above 0.1 to 0.4 and salient; b: all columns, of which 4 are salient
    assert table[0.3] == pytest.approx(8 / 10) and table[0.05] == pytest.approx(8 / 12)
    assert result["best_threshold"] == 0.15
    assert (run_dir(salient) / "cam_agreement.json").is_file()
    assert score(salient, reference="saliency", saliency_weight=0.5)["best_threshold"] == pytest.approx(0.2)


def test_masks_are_the_reference_where_there_are_some(salient):
    score(salient)
    assert not (run_dir(salient) / "cam_agreement.json").exists()


def test_saliency_of_another_size_is_named(salient):
    write_image(Path(salient["sal_dir"]) / "b.png", np.zeros((5, 7), np.uint8))
    with pytest.raises(UserError, match=r"b\.png"):
        score(salient, reference="saliency")
