"""Labels snapped to segments: the class of a segment, overlaps, and invalid files."""

import json

import numpy as np
import pytest
from PIL import Image

from utils.cam.segments import Masks, Partition, SnapRule, find_segments, read_segments, snap
from utils.data.images import write_image
from utils.data.run_lengths import encode_runs
from utils.errors import UserError

SIZE = (1, 10)


def row(values):
    return np.array([values], np.uint8)


def partition(ids):
    return Partition(np.array([ids]))


def masks(*spans):
    """Segments of one row of ten pixels, each from the first of a pair to before the second."""
    return Masks(SIZE, tuple(np.array([first, end - first, SIZE[1] - end]) for first, end in spans))


def test_a_segment_takes_the_class_that_covers_most_of_it_and_the_rest_keeps_its_label():
    label = row([1, 1, 0, 0, 0, 2, 2, 0, 1, 0])
    ids = [1, 1, 1, 2, 2, 2, 0, 0, 0, 0]
    assert snap(label, partition(ids), SnapRule()).tolist() == [[1, 1, 1, 0, 0, 0, 2, 0, 1, 0]]


def test_masks_without_overlap_give_what_a_partition_gives():
    rng = np.random.default_rng(0)
    for rule in (SnapRule(), SnapRule(0.7), SnapRule(0.5, 0.6)):
        for _ in range(20):
            label, cuts = rng.integers(0, 4, SIZE).astype(np.uint8), sorted(rng.choice(9, 3, replace=False) + 1)
            ids = np.searchsorted(cuts, np.arange(10), side="right")
            spans = list(zip(cuts, [*cuts[1:], 10]))
            assert np.array_equal(snap(label, masks(*spans), rule), snap(label, partition(ids), rule))


@pytest.mark.parametrize(("coverage", "expected"), [(0.5, 1), (0.59, 1), (0.6, None), (0.9, None)])
def test_a_segment_that_no_class_covers_enough_keeps_its_labels(coverage, expected):
    label = row([1, 1, 1, 1, 1, 1, 0, 0, 2, 2])
    found = snap(label, partition([1] * 10), SnapRule(coverage))
    assert np.array_equal(found, label if expected is None else np.full(SIZE, expected))


def test_a_segment_that_holds_most_of_a_class_takes_it_on_request():
    label = row([0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    ids = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert not snap(label, partition(ids), SnapRule()).any()
    assert snap(label, partition(ids), SnapRule(share=0.85)).tolist() == [[1] * 7 + [0] * 3]
    assert not snap(row([0, 1, 1, 0, 0, 0, 0, 1, 0, 0]), partition(ids), SnapRule(share=0.85))[0, :7].any()


def test_an_object_lies_over_background_and_the_smaller_object_over_the_larger():
    label = row([1, 1, 1, 1, 2, 0, 0, 0, 0, 0])
    # all of it is object 1, the part that its label misses is background, a part inside is object 2
    found = snap(label, masks((0, 7), (5, 7), (4, 5), (5, 10)), SnapRule())
    assert found.tolist() == [[1, 1, 1, 1, 2, 1, 1, 0, 0, 0]]


def test_an_image_without_segments_or_objects_keeps_its_label():
    label = row([1, 0] * 5)
    assert np.array_equal(snap(label, masks(), SnapRule(share=0.5)), label)
    assert np.array_equal(snap(label, partition([0] * 10), SnapRule(share=0.5)), label)
    assert not snap(row([0] * 10), masks((0, 4)), SnapRule(share=0.5)).any()


def test_files_of_both_forms_are_read(tmp_path):
    ids = np.array([[0, 300, 300, 70], [1, 1, 1, 70]], np.uint16)
    write_image(tmp_path / "a.png", ids)
    assert np.array_equal(read_segments(find_segments(tmp_path, "a"), (2, 4)).ids, ids)
    write_image(tmp_path / "b.png", ids.astype(np.uint8))
    assert read_segments(tmp_path / "b.png", (2, 4)).ids.max() == 70
    runs = [encode_runs(ids == 300), {"size": [2, 4], "counts": [1, 1, 1, 1, 1, 1, 2]}]
    as_sam = [{"segmentation": shape, "area": 1, "predicted_iou": 0.9} for shape in runs]
    for name, content in (("c", runs), ("d", as_sam), ("e", {"image": {}, "annotations": as_sam})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        found = read_segments(find_segments(tmp_path, name), (2, 4))
        assert found.counts(np.ones((2, 4), np.uint8), 2).tolist() == [[0, 2], [0, 3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("none", "is not JSON"),
        ("{}", "dict"),
        ('["a"]', "segment 1: "),
        ('[{"segmentation": [[0, 0, 1, 1, 2, 2]]}]', "segment 1: "),
        ('[{"size": [4, 2], "counts": [8]}]', r"\[4, 2\].*\[2, 4\]"),
    ],
)
def test_json_that_holds_no_segments_of_the_image_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=rf"a\.json: .*{message}"):
        read_segments(tmp_path / "a.json", (2, 4))


def test_damaged_run_lengths_name_the_segment(tmp_path):
    shape = encode_runs(np.eye(4, dtype=bool))
    (tmp_path / "a.json").write_text(json.dumps([shape, shape | {"counts": shape["counts"][:-2]}]))
    with pytest.raises(UserError, match=r"a\.json: segment 2"):
        read_segments(tmp_path / "a.json", (4, 4))


def test_images_that_hold_no_ids_of_the_image_are_refused(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((2, 4, 3), np.uint8))
    write_image(tmp_path / "b.png", np.zeros((4, 2), np.uint8))
    with pytest.raises(UserError, match=r"a\.png: .*RGB"):
        read_segments(tmp_path / "a.png", (2, 4))
    with pytest.raises(UserError, match=r"b\.png: .*2x4.*4x2"):
        read_segments(tmp_path / "b.png", (2, 4))


def test_two_files_of_one_image_are_refused(tmp_path):
    for name in ("a.png", "a.json"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"a\.png and a\.json"):
        find_segments(tmp_path, "a")


def test_ids_of_32_bits_take_memory_by_their_number_and_negative_ones_are_refused(tmp_path):
    ids = np.array([[7, 7, 0], [2_000_000_000, 2_000_000_000, 7]], np.int32)
    Image.fromarray(ids).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    found = read_segments(tmp_path / "a.png", (2, 3))
    label = np.array([[1, 1, 0], [2, 2, 0]], np.uint8)
    assert found.counts(label, 3).tolist() == [[1, 2, 0], [0, 0, 2]]
    assert snap(label, found, SnapRule()).tolist() == [[1, 1, 0], [2, 2, 1]]
    Image.fromarray(-ids).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    with pytest.raises(UserError, match="-2000000000"):
        read_segments(tmp_path / "a.png", (2, 3))
