import numpy as np
import pytest

from utils.copy_paste.selection import Candidate, Rejection, box_of, choose, iou, judge

BOUNDS = {"min_area": 0.1, "max_area": 0.7, "min_side": 3, "min_agreement": 0.5}


def label_of(rows, columns, value=1):
    label = np.zeros((10, 10), np.uint8)
    label[rows, columns] = value
    return label


def verdict(label, salient=None, tag=None, **changes):
    return judge("x", label, salient, tag=tag, **{**BOUNDS, **changes})


def test_object_is_found_with_its_box():
    found = verdict(label_of(slice(2, 6), slice(3, 8), 4), tag=3)
    assert found == Candidate("x", 3, (2, 3, 6, 8), 20, 1.0, False)
    assert np.zeros((10, 10, 3))[found.window].shape == (4, 5, 3)


def test_tag_follows_from_the_label_where_the_list_tells_none():
    assert verdict(label_of(slice(2, 6), slice(3, 8), 4)).tag == 3


def test_ignored_pixels_are_not_object():
    label = label_of(slice(2, 6), slice(3, 8))
    label[2] = 255
    assert verdict(label).box == (3, 3, 6, 8)


@pytest.mark.parametrize(
    ("label", "tag", "reason"),
    [
        (label_of(slice(0, 0), slice(0, 0)), 0, Rejection.NO_OBJECT),
        (label_of(slice(0, 9), slice(0, 5), 255), 0, Rejection.NO_OBJECT),
        (np.maximum(label_of(slice(1, 5), slice(1, 5)), label_of(9, 9, 2)), 0, Rejection.SEVERAL_CLASSES),
        (label_of(slice(1, 5), slice(1, 5), 2), 0, Rejection.OTHER_CLASS),
        (label_of(slice(1, 4), slice(1, 4)), 0, Rejection.SMALL_SHARE),
        (label_of(slice(1, 10), slice(1, 9)), 0, Rejection.LARGE_SHARE),
        (label_of(slice(1, 3), slice(1, 9)), 0, Rejection.SMALL_BOX),
    ],
)
def test_what_cannot_be_trusted_is_left_out_with_its_reason(label, tag, reason):
    assert verdict(label, tag=tag) is reason


def test_bounds_are_included():
    label = label_of(slice(1, 5), slice(1, 6))  # 20 of 100, 4 high
    assert isinstance(verdict(label, min_area=0.2, max_area=0.2 + 1e-9, min_side=4), Candidate)
    assert verdict(label, min_side=5) is Rejection.SMALL_BOX


def test_object_must_agree_with_the_saliency():
    label = label_of(slice(1, 5), slice(1, 5))
    half = label_of(slice(1, 5), slice(1, 3)) > 0
    assert verdict(label, half).agreement == 0.5
    assert verdict(label, half, min_agreement=0.51) is Rejection.UNLIKE_SALIENCY
    assert verdict(label, np.zeros((10, 10), bool), min_agreement=0) is Rejection.UNLIKE_SALIENCY


def test_salient_ignored_pixels_speak_against_the_object():
    label = label_of(slice(1, 5), slice(1, 5))
    label[1:5, 5:9] = 255
    assert verdict(label, label > 0).agreement == 0.5


@pytest.mark.parametrize(
    ("rows", "columns"), [((0, 5), (2, 7)), ((5, 10), (2, 7)), ((2, 7), (0, 5)), ((2, 7), (5, 10))]
)
def test_object_at_any_border_is_cut(rows, columns):
    assert verdict(label_of(slice(*rows), slice(*columns))).is_cut


def candidate(name, tag, *, agreement=0.8, is_cut=False):
    return Candidate(name, tag, (0, 0, 5, 5), 20, agreement, is_cut)


def test_cut_objects_fill_up_only_classes_that_have_too_few_whole_ones():
    many = [candidate(name, 0) for name in "cab"] + [candidate("z", 0, is_cut=True, agreement=1.0)]
    few = [
        candidate("e", 1),
        candidate("f", 1, is_cut=True, agreement=0.6),
        candidate("g", 1, is_cut=True, agreement=0.9),
        candidate("h", 1, is_cut=True, agreement=0.7),
    ]
    chosen = choose([*few, *many], min_per_class=3)
    assert [(c.tag, c.name) for c in chosen] == [(0, "a"), (0, "b"), (0, "c"), (1, "e"), (1, "g"), (1, "h")]
    assert [c.name for c in choose([*few, *many], min_per_class=0)] == ["a", "b", "c", "e"]


def test_choice_does_not_depend_on_the_order_of_the_list():
    items = [candidate(name, 0, is_cut=True, agreement=0.7) for name in "abcd"]
    assert choose(items, min_per_class=2) == choose(items[::-1], min_per_class=2)


def test_box_and_iou():
    mask = label_of(slice(2, 4), slice(5, 10)) > 0
    assert box_of(mask) == (2, 5, 4, 10)
    assert iou(mask, ~mask) == 0 and iou(mask, mask) == 1
    assert iou(mask & False, mask & False) == 0
