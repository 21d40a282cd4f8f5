import numpy as np
import pytest

from deeplabv2.dataset import Augmentation, SegmentationDataset
from deeplabv2.input_format import CAFFE
from deeplabv2.pasting import ObjectPaster
from utils.data.image_list import ImageEntry
from utils.data.images import write_image, write_label_png


@pytest.fixture
def make(tmp_path):
    """name -> label (H, W) of one class; each image is 10 times its label. Returns a paster and a reader of them."""

    def paster(labels, probability=1.0):
        pairs = {}
        for name, label in labels.items():
            label = np.asarray(label, np.uint8)
            pairs[name] = np.stack([10 * np.minimum(label, 20)] * 3, axis=-1), label
            write_image(tmp_path / f"{name}.png", pairs[name][0])
            write_label_png(tmp_path / "labels" / f"{name}.png", label)
        return ObjectPaster(list(pairs), probability=probability), pairs.__getitem__

    return paster


def block(value, *, ignored=False):
    label = np.zeros((20, 30), np.uint8)
    label[5:15, 10:20] = value
    if ignored:
        label[5:15, 20:22] = 255
    return label


def paste(made, seed=0):
    paster, read = made
    image, label = np.full((40, 50, 3), 200, np.uint8), np.full((40, 50), 7, np.uint8)
    return *paster(image, label, np.random.default_rng(seed), read=read), image, label


def test_the_object_replaces_image_and_label_at_the_same_pixels(make):
    image, label, before, before_label = paste(make({"a": block(3, ignored=True)}))
    pasted = label == 3
    assert 60 <= pasted.sum() <= 150  # 10 x 10 pixels, scaled by 0.8 to 1.2
    assert (image[pasted] == 30).all() and (image[~pasted] == 200).all()
    assert (label[~pasted] == 7).all()  # the source's ignored pixels are not pasted
    assert (before == 200).all() and (before_label == 7).all()  # changed copies


def test_each_source_is_drawn(make):
    made = make({"a": block(3), "b": block(5)})
    pasted = [np.unique(paste(made, seed)[1]).tolist() for seed in range(20)]
    assert [3, 7] in pasted and [5, 7] in pasted


def test_nothing_is_pasted_at_a_probability_of_0(make):
    image, label, before, before_label = paste(make({"a": block(3)}, probability=0.0))
    assert image is before and label is before_label


def test_samples_of_a_dataset_depend_only_on_seed_epoch_and_index(make, tmp_path):
    paster, _ = make({"a": block(3), "b": block(5)}, probability=0.5)

    def samples(paster):
        entries = [ImageEntry("a"), ImageEntry("b")]
        augmentation = Augmentation((1.0,), None, 32, 0.0)
        options = {"augmentation": augmentation, "input_format": CAFFE, "seed": 0, "paster": paster}
        dataset = SegmentationDataset(entries, paster_files, tmp_path / "labels", **options)
        return [dataset[epoch, index]["labels"] for epoch in range(8) for index in range(2)]

    paster_files = {name: tmp_path / f"{name}.png" for name in "ab"}
    first, again, without = samples(paster), samples(paster), samples(None)
    assert all((ours == theirs).all() for ours, theirs in zip(first, again))
    changed = [not (ours == theirs).all() for ours, theirs in zip(first, without)]
    assert 2 < sum(changed) < 14
