"""The check of all labels before training: errors, warnings and log lines."""

import numpy as np
import pytest

from utils.data.images import write_image, write_label_png
from utils.data.label_check import check_labels, is_bordered, unknown_labels
from utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in "abcd":
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((6, 8, 3), np.uint8))
        label = np.zeros((6, 8), np.uint8)
        label[2:4, 2:5] = 1
        write_label_png(tmp_path / "labels" / f"{name}.png", label)
    return tmp_path


def check(folder, **changes):
    files = {name: folder / "images" / f"{name}.png" for name in "abcd"}
    options = {"mask_dir": None, "num_labels": 3, "num_workers": 1, **changes}
    return check_labels("abcd", files, folder / "labels", **options)


def bordered(thickness):
    label = np.zeros((12, 14), np.uint8)
    label[2:10, 2:10] = 255
    label[2 + thickness : 10 - thickness, 2 + thickness : 10 - thickness] = 2
    return label


def test_shares_are_of_labelled_pixels_and_ignored_ones_of_all(folder):
    label = np.full((6, 8), 255, np.uint8)
    label[0] = 2
    write_label_png(folder / "labels" / "d.png", label)
    summary = check(folder)
    assert summary.counts[:3].tolist() == [126, 18, 8] and summary.counts[255] == 40
    text = summary.shares(("cat", "dog"))
    assert "background       82.89%" in text and "cat              11.84%" in text and "dog              5.26%" in text
    assert "(ignored)        20.83%" in text
    assert summary.warnings == ()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_labels_of_another_size_or_value_are_refused_together(folder, workers):
    write_label_png(folder / "labels" / "b.png", np.zeros((8, 6), np.uint8))
    write_label_png(folder / "labels" / "c.png", np.full((6, 8), 3, np.uint8))
    with pytest.raises(UserError, match=r"2 of 4 (.|\n)*DATASET\.N_CLASSES=3") as error:
        check(folder, num_workers=workers)
    assert "b.png is 6x8" in str(error.value)
    assert "c.png contains 3: " in str(error.value)


@pytest.mark.parametrize("folder_name", ["images", "labels"])
def test_all_files_that_cannot_be_read_are_counted_and_the_first_ten_named(tmp_path, folder_name):
    names = [f"n{number:02}" for number in range(14)]
    for name in names:
        write_image(tmp_path / "images" / f"{name}.png", np.random.default_rng(0).integers(0, 99, (6, 8, 3), np.uint8))
        write_label_png(tmp_path / "labels" / f"{name}.png", np.ones((6, 8), np.uint8))
    for name in names[1:13]:
        path = tmp_path / folder_name / f"{name}.png"
        path.write_bytes(path.read_bytes()[:-40])
    write_label_png(tmp_path / "labels" / "n13.png", np.full((6, 8), 7, np.uint8))
    files = {name: tmp_path / "images" / f"{name}.png" for name in names}
    with pytest.raises(UserError) as error:
        check_labels(names, files, tmp_path / "labels", mask_dir=None, num_labels=3, num_workers=1)
    text = str(error.value)
    assert "12 of 14 images" in text and "1 of 14 labels" in text and "n13.png contains 7" in text
    assert [name in text for name in names] == [False, *[True] * 10, False, False, True]
    assert str(tmp_path / folder_name / "n01.png") in text


def test_labels_without_any_object_are_pointed_out(folder):
    for name in "abcd":
        write_label_png(folder / "labels" / f"{name}.png", np.zeros((6, 8), np.uint8))
    (warning,) = check(folder).warnings
    assert "all 4 labels" in warning and "background" in warning


def test_ground_truth_where_pseudo_labels_are_meant_is_pointed_out(folder):
    masks = folder / "masks"
    for name in "ab":
        masks.mkdir(exist_ok=True)
        (masks / f"{name}.png").write_bytes((folder / "labels" / f"{name}.png").read_bytes())
    (warning,) = check(folder, mask_dir=masks).warnings
    assert "2 of 4" in warning
    changed = np.zeros((6, 8), np.uint8)
    changed[0, 0] = 1
    for name in "ab":
        write_label_png(masks / f"{name}.png", changed)
    assert check(folder, mask_dir=masks).warnings == ()


def test_the_border_of_voc_masks_is_pointed_out_unless_the_labels_were_made_here(folder):
    for name in "abcd":
        write_image(folder / "images" / f"{name}.png", np.zeros((12, 14, 3), np.uint8))
        write_label_png(folder / "labels" / f"{name}.png", bordered(1))
    (warning,) = check(folder).warnings
    assert "4 of 4 have ignored pixels around objects" in warning
    (folder / "labels" / "label_settings.json").write_text("{}")
    assert check(folder).warnings == ()


def test_border_is_recognised_by_what_touches_objects():
    assert is_bordered(bordered(1)) and is_bordered(bordered(2))
    assert not is_bordered(bordered(0))
    half = bordered(1)
    half[:, 6:][half[:, 6:] == 255] = 0  # some ignored pixels, but objects touch background too
    assert not is_bordered(half)
    assert not is_bordered(np.zeros((4, 4), np.uint8))


def test_labels_with_a_single_class_are_named(folder):
    label = np.zeros((6, 8), np.uint8)
    write_label_png(folder / "labels" / "a.png", label)
    label[0], label[1] = 1, 2
    write_label_png(folder / "labels" / "b.png", label)
    label[0] = 255
    write_label_png(folder / "labels" / "c.png", label)
    assert check(folder).with_one_class == ("c", "d")


def test_digest_tells_other_labels_and_other_names_apart(folder):
    before = check(folder).digest
    assert check(folder).digest == before
    label = np.zeros((6, 8), np.uint8)
    label[2:4, 3:6] = 1  # as many pixels, one to the right
    write_label_png(folder / "labels" / "a.png", label)
    assert check(folder).digest != before


def test_labels_beyond_the_classes_are_unknown_but_for_the_ignored_one():
    assert unknown_labels(np.array([[0, 2, 3], [7, 255, 3]], np.uint8), 3) == [3, 7]
    assert unknown_labels(np.array([[0, 2, 255]], np.uint8), 3) == []
