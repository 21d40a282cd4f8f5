"""Uninformative tags are reported before training, with the names of the classes."""

from utils.data.image_list import ImageEntry
from utils.data.learnable import tag_faults, tag_warnings

CLASSES = ("cat", "dog", "emu")


def entries(*tag_sets, count=20):
    return [ImageEntry(f"{i}_{n}", tags, not tags) for i, tags in enumerate(tag_sets) for n in range(count)]


def test_one_class_needs_negatives():
    assert "cat" in tag_faults(entries((0,)), CLASSES)[0]
    assert tag_faults(entries((0,), ()), CLASSES) == []
    assert tag_faults(entries((0, 1)), CLASSES) and not tag_faults(entries((0,), (1,)), CLASSES)


def test_few_images_are_named_with_their_count():
    few = entries((0,), (1,)) + entries((2,), count=5)
    assert len(tag_warnings(few, CLASSES)) == 1 and "emu 5" in tag_warnings(few, CLASSES)[0]


def test_classes_that_always_occur_together_are_named():
    (warning,) = tag_warnings(entries((0, 1), (2,)), CLASSES)
    assert "cat, dog" in warning and "emu" not in warning


def test_a_class_in_every_image_is_named():
    (warning,) = tag_warnings(entries((0, 1), (0, 2)), CLASSES)
    assert warning.startswith("cat in every image")


def test_a_class_in_nearly_every_image_is_named_with_the_others():
    (warning,) = tag_warnings([*entries((0,), count=40), *entries((), count=2)], CLASSES)
    assert "cat is in all but 2 images (0_0, 0_1)" in warning
    assert tag_warnings([*entries((0,), count=40), *entries((), count=5)], CLASSES) == []


def test_good_tags_give_no_warning():
    assert tag_warnings(entries((0,), (1,), (2,), ()), CLASSES) == []
