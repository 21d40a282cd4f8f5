"""Training samples of the segmentation trainer: alignment, padding, and randomness."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from deeplabv2.dataset import Augmentation, SegmentationDataset
from deeplabv2.input_format import CAFFE
from tests.photograph import photograph
from utils.data.image_list import ImageEntry
from utils.data.images import write_image, write_label_png


@pytest.fixture
def make(tmp_path):
    """A dataset of one image 8 x 10 whose red channel encodes its label: 40 * label, in four blocks."""
    label = np.zeros((8, 10), np.uint8)
    label[:4, 5:], label[4:, :5], label[4:, 5:] = 1, 2, 3
    image = np.stack([label * 40, np.full_like(label, 9), np.full_like(label, 7)], axis=-1)
    write_image(tmp_path / "a.png", image)
    write_label_png(tmp_path / "labels" / "a.png", label)

    def dataset(**changes):
        options = {"seed": 0, "input_format": CAFFE} | {
            k: changes.pop(k) for k in ("seed", "input_format") if k in changes
        }
        augmentation = Augmentation(**{"scales": (1.0,), "base_size": None, "crop_size": 8, "flip": 0.0, **changes})
        files, labels = {"a": tmp_path / "a.png"}, tmp_path / "labels"
        return SegmentationDataset([ImageEntry("a")], files, labels, augmentation=augmentation, **options)

    return dataset


def red_of(sample):
    return sample["images"][2] + 122.675  # BGR minus the mean


def test_sample_has_the_documented_shapes_and_types(make):
    sample = make()[0, 0]
    assert sample["images"].shape == (3, 8, 8) and sample["images"].dtype == torch.float32
    assert sample["labels"].shape == (8, 8) and sample["labels"].dtype == torch.long
    assert all(type(value) is torch.Tensor for value in sample.values())


def test_later_epochs_decode_no_file_again(make, tmp_path):
    dataset, expected = make(flip=0.5), make(flip=0.5)[1, 0]
    dataset[0, 0]
    (tmp_path / "a.png").write_bytes(b"")
    found = dataset[1, 0]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_image_and_label_stay_aligned_through_scale_crop_and_mirror(make):
    dataset = make(scales=(4.0,), crop_size=16, flip=0.5)
    firsts = set()
    for epoch in range(20):
        sample = dataset[epoch, 0]
        inside = (red_of(sample) / 40).round() == sample["labels"]
        assert inside.float().mean() > 0.8  # bilinear values at the edges between blocks are none of the four
        firsts.add(tuple(sample["labels"].flatten()[[0, -1]].tolist()))
    assert len(firsts) > 3  # crops and mirrors vary


def test_beyond_the_image_is_the_mean_and_ignored(make):
    sample = make(crop_size=16)[0, 0]
    beyond = sample["labels"] == 255
    assert (~beyond).sum() == 80  # the whole image, 8 x 10
    assert (sample["images"][:, beyond] == 0).all()
    assert (red_of(sample)[~beyond] / 40).allclose(sample["labels"][~beyond].float(), atol=1e-4)


def test_base_size_is_the_longer_side_before_the_scale(make):
    sample = make(base_size=20, scales=(0.5,), crop_size=16)[0, 0]
    assert (sample["labels"] != 255).sum() == 80
    sample = make(base_size=5, scales=(1.0,), crop_size=16)[0, 0]
    assert (sample["labels"] != 255).sum() == 20


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.25, 1.5])
def test_images_are_scaled_by_opencv_in_float_and_labels_by_the_nearest_pixel_of_pil(tmp_path, factor):
    pixels = photograph((93, 125))
    label = (pixels[..., 0] // 13).astype(np.uint8)
    write_image(tmp_path / "a.png", pixels)
    write_label_png(tmp_path / "labels" / "a.png", label)
    size = [int(side * factor) for side in label.shape]
    augmentation = Augmentation((factor,), None, max(size), 0.0)
    dataset = SegmentationDataset(
        [ImageEntry("a")],
        {"a": tmp_path / "a.png"},
        tmp_path / "labels",
        augmentation=augmentation,
        input_format=CAFFE,
        seed=0,
    )
    sample = dataset[0, 0]
    image = cv2.resize(pixels.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    expected = image[..., ::-1] - np.array(CAFFE.mean, np.float32)
    nearest = np.asarray(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))
    inside = (sample["labels"] != 255).nonzero()
    (top, left), (bottom, right) = inside.min(0).values.tolist(), (inside.max(0).values + 1).tolist()
    assert np.array_equal(sample["labels"][top:bottom, left:right], nearest)
    found = sample["images"][:, top:bottom, left:right].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_every_scale_is_drawn(make):
    dataset = make(scales=(0.5, 1.0, 2.0), crop_size=24)
    areas = {int((dataset[epoch, 0]["labels"] != 255).sum()) for epoch in range(20)}
    assert areas == {20, 80, 320}


def test_sample_follows_from_seed_epoch_and_index_alone(make):
    options = {"scales": (0.5, 1.0, 1.5), "flip": 0.5}
    first = make(**options)[3, 0]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = make(**options)[3, 0]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    others = [make(**options)[epoch, 0] for epoch in range(4, 9)] + [make(seed=1, **options)[3, 0]]
    assert any(not torch.equal(first["labels"], other["labels"]) for other in others)


def test_the_image_mean_may_be_another_one(make):
    sample = make(crop_size=8, input_format=CAFFE.with_mean((10.0, 20.0, 30.0)))[0, 0]
    assert sample["images"][2].min() == -10 and (sample["images"][1] == 9 - 20).all()


def test_scales_between_are_log_uniform_from_the_least_to_the_largest(make):
    dataset = make(scales=(0.5, 4.0), draw="between")
    torch.manual_seed(0)
    factors = np.array([dataset.augmentation.factor() for _ in range(400)])
    assert 0.5 <= factors.min() < 0.55 and 3.6 < factors.max() <= 4.0
    assert np.median(factors) == pytest.approx(2**0.5, rel=0.15)


def test_jitter_changes_colours_of_the_image_and_neither_labels_nor_padding(make):
    plain, changed = (make(crop_size=16, jitter=jitter)[0, 0] for jitter in ((0.0, 0.0, 0.0), (0.4, 0.4, 0.4)))
    assert sorted(plain["labels"].flatten()) == sorted(changed["labels"].flatten())
    beyond = changed["labels"] == 255
    assert beyond.any() and (changed["images"][:, beyond] == 0).all()
    assert not torch.allclose(
        red_of(plain)[plain["labels"] == 3].mean(), red_of(changed)[changed["labels"] == 3].mean()
    )


def test_gray_image_has_three_equal_channels(make):
    sample = make(gray=1.0, scales=(1.5,))[0, 0]
    inside = sample["labels"] != 255
    blue, green, red = sample["images"][:, inside] + torch.tensor(CAFFE.mean)[:, None]
    assert red.allclose(green, atol=1e-3) and green.allclose(blue, atol=1e-3)


def test_recoloured_sample_follows_from_seed_epoch_and_index_alone(make):
    options = {"scales": (0.5, 2.0), "draw": "between", "jitter": (0.2, 0.4, 0.4), "gray": 0.3, "flip": 0.5}
    first, again = make(**options)[3, 0], make(**options)[3, 0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["images"], make(**options)[4, 0]["images"])
