"""The rule that creates labels: only CAMs, and combined with saliency."""

import numpy as np
import pytest

from utils.cam.labels import (
    ambiguous,
    balanced_threshold,
    check_saliency_use,
    disagreement,
    foreground_strength,
    saliency_weights,
    to_label,
)
from utils.errors import UserError

# strongest CAM: of class 1 in the first row, of class 0 in the second
CAMS = np.array([[[0, 10, 20], [200, 128, 40]], [[255, 100, 30], [20, 12, 4]]], np.uint8)
SALIENCY = np.array([[0, 255, 0], [255, 0, 255]], np.uint8)


def test_without_weight_or_saliency_the_rule_is_the_cams_alone():
    alone = to_label([0, 4], CAMS, 0.3)
    assert alone.tolist() == [[5, 5, 0], [1, 1, 0]]
    assert (to_label([0, 4], CAMS, 0.3, saliency=SALIENCY) == alone).all()
    assert (to_label([0, 4], CAMS, 0.3, saliency_weight=0.5) == alone).all()


def test_joined_strength_is_the_weighted_mean_and_the_class_the_strongest_cams():
    joined = foreground_strength(CAMS.max(0), SALIENCY, 0.5)
    assert joined.dtype == np.uint8
    assert joined.tolist() == [[128, 178, 15], [228, 64, 148]]
    # the CAM is certain where saliency is 0 (255), and saliency is certain where the CAM is weak (40)
    assert to_label([0, 4], CAMS, 0.3, saliency=SALIENCY, saliency_weight=0.5).tolist() == [[5, 5, 0], [1, 0, 1]]


def test_float_cams_give_the_labels_of_bytes():
    floats = (CAMS / 255).astype(np.float32)
    for weight in (0.25, 0.5, 1.0):
        expected = to_label([0, 4], CAMS, 0.31, saliency=SALIENCY, saliency_weight=weight)
        assert (to_label([0, 4], floats, 0.31, saliency=SALIENCY, saliency_weight=weight) == expected).all()


# the class of the first row is salient, that of the second is missed by the saliency map but for a fifth of white
MISSED = np.array([[255, 255, 255], [51, 51, 51]], np.uint8)
ROWS = np.array([[[250, 250, 10], [10, 10, 10]], [[5, 5, 5], [250, 200, 100]]], np.uint8)


def test_a_class_whose_core_is_not_salient_uses_its_cam():
    assert saliency_weights(ROWS, MISSED, 0.5, 0.0).tolist() == [0.5, 0.5]
    # full from a mean of 0.3, none up to 0.1: the core of the second class has 0.2
    assert saliency_weights(ROWS, MISSED, 0.5, 0.3).tolist() == pytest.approx([0.5, 0.25])
    assert saliency_weights(ROWS, MISSED, 0.5, 0.6).tolist() == pytest.approx([0.5, 0.0])
    assert saliency_weights(np.zeros_like(ROWS), MISSED, 0.5, 0.3).tolist() == [0.0, 0.0]


def test_an_object_that_saliency_misses_keeps_its_pixels():
    with_support = {"saliency": MISSED, "saliency_weight": 0.5, "saliency_support": 0.6}
    assert to_label([0, 4], ROWS, 0.6, saliency=MISSED, saliency_weight=0.5).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert to_label([0, 4], ROWS, 0.6, **with_support).tolist() == [[1, 1, 0], [5, 5, 0]]
    floats = (ROWS / 255).astype(np.float32)
    assert (to_label([0, 4], floats, 0.6, **with_support) == to_label([0, 4], ROWS, 0.6, **with_support)).all()


def test_with_weights_that_differ_the_class_is_that_of_the_joined_strength():
    # last pixel of the first row: CAMs 10 and 5; joined 132 and, without saliency, 5
    joined = to_label([0, 4], ROWS, 0.5, saliency=MISSED, saliency_weight=0.5, saliency_support=0.6)
    assert joined[0].tolist() == [1, 1, 1]


def test_support_without_saliency_is_refused():
    check_saliency_use(0.5, 0.3)
    with pytest.raises(UserError, match=r"--saliency_support=0\.3.*--saliency_weight"):
        check_saliency_use(0.0, 0.3)


def test_an_image_without_tags_is_background_however_salient():
    none = np.zeros((0, 2, 3), np.uint8)
    assert not to_label([], none, 0.3, saliency=SALIENCY, saliency_weight=1.0).any()
    assert not disagreement(none, SALIENCY, 0.1).any()


def test_threshold_of_labels_is_where_both_are_undecided():
    threshold = balanced_threshold(0.45, 0.5)
    assert threshold == pytest.approx(0.35)
    at_both = foreground_strength(np.float32([[0.45]]), np.uint8([[64]]), 0.5)
    assert at_both[0, 0] == pytest.approx(threshold, abs=0.002)
    assert balanced_threshold(0.3, 0.0) == 0.3


def test_saliency_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"\(1, 3\).*\(2, 3\)"):
        foreground_strength(CAMS.max(0), SALIENCY[:1], 0.5)


def test_disagreement_is_where_one_is_sure_of_what_the_other_denies():
    assert disagreement(CAMS, SALIENCY, 0.8).tolist() == [[True, False, False], [False, False, True]]


def test_ambiguous_is_where_the_other_tag_is_nearly_as_strong_or_stronger():
    # leads of the labelled class: -(255 - 0), 90, -; 188, 116, -36: 0.35 and 0.74 and 0.45 of 255
    label = np.array([[1, 5, 0], [1, 1, 5]], np.uint8)
    assert ambiguous(label, [0, 4], CAMS, 0.4).tolist() == [[True, True, False], [False, False, True]]
    assert ambiguous(label, [0, 4], CAMS, 0.5).tolist() == [[True, True, False], [False, True, True]]
    assert ambiguous(label, [0, 4], CAMS, 0.0).tolist() == [[True, False, False], [False, False, True]]


def test_an_image_with_one_tag_has_no_ambiguous_pixel():
    assert not ambiguous(np.full((2, 3), 5, np.uint8), [4], CAMS[1:], 1.0).any()
