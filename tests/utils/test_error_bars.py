"""Error bars of few photos: values that are certain, one of a formula, and what a weighted sample says."""

import numpy as np
import pytest

from utils.error_bars import MOST, PhotoMatrices, estimate, intervals, lines
from utils.runs.annotation_sample import AnnotationSample, ChosenPhoto, Weights, write_sample

RIGHT, WRONG = np.array([[4, 0], [0, 4]]), np.array([[0, 4], [4, 0]])


def test_a_right_and_a_wrong_photo_say_nothing():
    found = intervals([RIGHT, WRONG], ["cat"])
    whole = [0.0, 1.0]
    assert found == {
        "mean_iou": whole,
        "pixel_accuracy": whole,
        "photo_mean_iou": whole,
        "class_iou": {"background": whole, "cat": whole},
    }


def test_equal_photos_have_no_spread():
    matrix = np.array([[3, 1], [0, 4]])
    found = intervals([matrix] * 5, ["cat"])
    assert found["mean_iou"] == pytest.approx([(3 / 4 + 4 / 5) / 2] * 2)
    assert found["pixel_accuracy"] == pytest.approx([7 / 8] * 2)


def test_the_width_is_that_of_the_normal_distribution():
    """Accuracies of 0 and 1 in equal parts over 40 photos: 1.96 standard errors of 0.5 / sqrt(40) on each side."""
    low, high = intervals([RIGHT, WRONG] * 20, ["cat"])["pixel_accuracy"]
    assert (low, high) == pytest.approx((0.5 - 0.155, 0.5 + 0.155), abs=0.02)


def test_absent_classes_have_no_interval():
    wide = np.zeros((4, 4), int)
    wide[:2, :2] = RIGHT
    found = intervals([wide, wide], ["cat", "dog", "cow"])
    assert found["class_iou"] == {"background": [1.0, 1.0], "cat": [1.0, 1.0], "dog": None, "cow": None}


def test_a_weighted_sample_gives_the_scores_of_all():
    """Three photos like RIGHT and one like WRONG; a stratum of one chosen photo has no spread of its own."""
    weights = Weights({"a": 3.0, "b": 1.0}, {"a": 0, "b": 1})
    found = estimate({"a": RIGHT, "b": WRONG}, weights, ["cat"])
    assert found["pixel_accuracy"] == 24 / 32 and found["photo_mean_iou"] == 3 / 4
    assert found["mean_iou"] == pytest.approx(12 / (16 + 16 - 12))
    assert found["error_bars"]["mean_iou"] == pytest.approx([0.6, 0.6])


def test_bars_and_estimate_are_written_for_few_photos_alone(tmp_path):
    chosen = [ChosenPhoto(name, name, ("cat",), 0.5, stratum, 1.0) for stratum, name in enumerate("abc")]
    write_sample(tmp_path, AnnotationSample(0, (10, 5, 5), tuple(chosen)))
    photos = PhotoMatrices(3)
    for name, matrix in zip("abc", (RIGHT, WRONG, WRONG)):
        photos.add(name, matrix)
    content = photos.as_json(["cat"], tmp_path)
    assert content["error_bars"]["photos"] == 3
    assert (content["estimate_of_all"]["photos"], content["estimate_of_all"]["of"]) == (3, 20)
    assert content["estimate_of_all"]["photo_mean_iou"] == 10 / 20
    first, second = lines(content)
    assert "3 photos" in first and "all 20 photos" in second and "mean over photos 50.0%" in second
    assert PhotoMatrices(MOST + 1).are_kept is False and PhotoMatrices(1).as_json(["cat"], tmp_path) == {}


def test_without_a_photo_of_each_stratum_nothing_is_said_of_all(tmp_path):
    chosen = [ChosenPhoto(name, name, ("cat",), 0.5, stratum, 1.0) for stratum, name in enumerate("abc")]
    write_sample(tmp_path, AnnotationSample(0, (10, 5, 5), tuple(chosen)))
    photos = PhotoMatrices(2)
    photos.add("a", RIGHT)
    photos.add("b", RIGHT)
    assert "estimate_of_all" not in photos.as_json(["cat"], tmp_path)
