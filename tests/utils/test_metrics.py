import json
import math
from pathlib import Path

import numpy as np
import pytest

from utils.cam.labels import to_label
from utils.errors import UserError
from utils.metrics import (
    ABSENT_CLASSES,
    ConfusionMatrix,
    ThresholdScores,
    absent_note,
    print_class_iou,
    scores_as_json,
    write_scores,
)

GOLDEN = Path(__file__).parents[1] / "golden"
THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 16)]


def random_image(rng, *, num_cams, num_labels=6, dtype=np.uint8, size=(31, 40)):
    keys = np.sort(rng.choice(num_labels - 1, num_cams, replace=False))
    cams = rng.integers(0, 256, (num_cams, *size))
    target = rng.choice([*range(num_labels), 255], size).astype(np.uint8)
    return keys, cams.astype(np.uint8) if dtype == np.uint8 else (cams / 255).astype(dtype), target


def test_scores_are_those_counted_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 0, 1, 1, 2]]), np.array([[0, 1, 1, 2, 255]]))
    scores = matrix.scores()
    assert matrix.matrix.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert scores.class_iou == pytest.approx((1 / 2, 1 / 3, 0))
    assert scores.mean_iou == pytest.approx(5 / 18)
    assert scores.pixel_accuracy == pytest.approx(2 / 4)
    assert scores.mean_accuracy == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores.frequency_weighted_iou == pytest.approx((1 / 2 + 2 / 3 + 0) / 4)
    assert scores.false_positive_rate == pytest.approx((1 / 3 + 0) / 2)
    assert scores.false_negative_rate == pytest.approx((1 / 3 + 1) / 2)


def test_scores_are_those_of_the_published_implementation():
    golden = np.load(GOLDEN / "scores.npz")
    matrix = ConfusionMatrix(21)
    for prediction, target in zip(golden["preds"], golden["gts"]):
        matrix.update(prediction, target)
    scores = matrix.scores()
    assert scores.pixel_accuracy == pytest.approx(float(golden["Pixel_Accuracy"]))
    assert scores.mean_accuracy == pytest.approx(float(golden["Mean_Accuracy"]))
    assert scores.mean_iou == pytest.approx(float(golden["Mean_IoU"]))
    assert scores.frequency_weighted_iou == pytest.approx(float(golden["Frequency_Weighted_IoU"]))
    assert scores.class_iou == pytest.approx(golden["class_iou"])


def test_class_absent_from_masks_and_predictions_is_left_out_of_the_mean():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
    scores = matrix.scores()
    assert math.isnan(scores.class_iou[2]) and math.isnan(scores.class_iou[3])
    assert scores.mean_iou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores.false_positive_rate == pytest.approx(1 / 3)


def test_other_conventions_for_absent_classes_stand_beside_the_mean():
    matrix = ConfusionMatrix(4)  # 2 is only predicted, 3 is nowhere
    matrix.update(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]))
    scores = matrix.scores()
    assert scores.mean_iou == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert scores.mean_iou_absent_as_zero == pytest.approx((1 / 2 + 1 / 3) / 4)
    assert scores.mean_iou_of_masks == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_every_file_of_scores_states_the_convention_and_notes_what_others_give(tmp_path, capsys):
    for labels, absent in ((2, False), (3, True)):
        matrix = ConfusionMatrix(labels)
        matrix.update(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
        scores, classes = matrix.scores(), ("cat", "dog")[: labels - 1]
        write_scores(tmp_path / "scores.json", scores_as_json(scores, classes))
        print_class_iou(scores, classes)
        printed, content = capsys.readouterr().out, json.loads((tmp_path / "scores.json").read_text())
        assert content["absent_classes"] == ABSENT_CLASSES and ABSENT_CLASSES in printed
        assert ("absent_classes_note" in content) == absent == (absent_note(scores) != "")
        if absent:
            assert content["absent_classes_note"] in printed
            assert content["mean_iou_absent_as_zero"] == pytest.approx(scores.mean_iou * 2 / 3)


def test_class_that_is_only_predicted_counts_as_zero():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 2]), np.array([0, 0]))
    assert matrix.scores().mean_iou == pytest.approx((1 / 2 + 0) / 2)


def test_empty_matrix_has_no_scores_and_does_not_fail():
    assert math.isnan(ConfusionMatrix(3).scores().mean_iou)


def test_counts_beyond_32_bits_are_exact():
    many = 3 * 2**40
    scores = ConfusionMatrix(2, [[many, many], [0, many]]).scores()
    assert scores.pixel_accuracy == pytest.approx(2 / 3)
    total = ConfusionMatrix(2, [[many, 0], [0, 0]])
    total += ConfusionMatrix(2, [[1, 0], [0, 0]])
    assert total.matrix[0, 0] == many + 1


@pytest.mark.parametrize("wrong", [-1, 3, 255])
def test_prediction_out_of_range_is_refused(wrong):
    with pytest.raises(UserError, match=f"prediction .*{wrong}"):
        ConfusionMatrix(3).update(np.array([0, wrong]), np.array([0, 1]))


def test_mask_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"mask .*7"):
        ConfusionMatrix(3).update(np.array([0, 1]), np.array([0, 7]))
    with pytest.raises(UserError, match=r"mask .*7"):
        ThresholdScores(3, [0.5]).update(np.array([0]), np.zeros((1, 1, 1), np.uint8), np.array([[7]], np.uint8))


def test_sizes_that_differ_are_refused():
    with pytest.raises(UserError, match=r"\("):
        ConfusionMatrix(3).update(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(UserError, match=r"\("):
        ThresholdScores(3, [0.5]).update(np.array([0]), np.zeros((1, 2, 3), np.uint8), np.zeros((3, 2), np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_one_pass_gives_exactly_the_labels_of_every_threshold(dtype):
    rng = np.random.default_rng(1)
    # k / 255 equals CAM values exactly, so "above" and "at least" differ
    thresholds = sorted({*THRESHOLDS, *(k / 255 for k in (0, 1, 85, 254, 255))})
    totals = ThresholdScores(6, thresholds)
    expected = [ConfusionMatrix(6) for _ in thresholds]
    for num_cams in (0, 1, 2, 3, 5):
        keys, cams, target = random_image(rng, num_cams=num_cams, dtype=dtype)
        totals.update(keys, cams, target)
        for matrix, threshold in zip(expected, thresholds):
            matrix.update(to_label(keys, cams, threshold), target)
    for index, matrix in enumerate(expected):
        np.testing.assert_array_equal(totals.confusion(index).matrix, matrix.matrix)


def test_threshold_table_is_the_published_one():
    golden = np.load(GOLDEN / "evaluate.npz")
    totals = ThresholdScores(21, THRESHOLDS)
    for name in sorted({key.split(".")[0] for key in golden if "." in key}):
        totals.update(golden[f"{name}.keys"][1:] - 1, golden[f"{name}.hr_cam"], golden[f"{name}.gt"])
    for line, threshold, scores in zip(str(golden["table"]).splitlines(), THRESHOLDS, totals.scores()):
        rates = f"FP={scores.false_positive_rate:.4f}, FN={scores.false_negative_rate:.4f}"
        assert line == f"Th={threshold:.2f}, mIoU={scores.mean_iou:.3%}, {rates}"


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [0.6, 0.5], [-0.1], [1.1]])
def test_illegal_thresholds_are_refused(thresholds):
    with pytest.raises(UserError, match="--thresholds"):
        ThresholdScores(3, thresholds)
