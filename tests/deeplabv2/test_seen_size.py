"""Photographs of any size are scaled to the network's training size, and labels have the photographs' size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from deeplabv2 import inference, predict
from deeplabv2.input_format import IMAGENET
from deeplabv2.logits import StoredLogits, enlarged, strongest
from deeplabv2.predict import PredictSettings
from deeplabv2.seen_size import bounded, not_too_small, size_of_network
from deeplabv2.setting_groups import SizeSettings
from deeplabv2.views import SMALLEST, Views, logits_of
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.data.images import read_label
from utils.errors import UserError
from utils.metrics import ConfusionMatrix


class Brightness(nn.Module):
    """Logits at stride 4 that depend on brightness: cat if it is high, dog if it is low. Records the input sizes."""

    normalisation = IMAGENET
    tags = None

    def __init__(self):
        super().__init__()
        self.seen = []

    def single_scale(self):
        return self

    def forward(self, images):
        self.seen.append(tuple(images.shape[2:]))
        bright = F.avg_pool2d(images.mean(dim=1, keepdim=True), 4, ceil_mode=True) - 0.26
        return torch.cat([torch.full_like(bright, 0.5), bright, -bright], dim=1)


@pytest.fixture
def network(monkeypatch):
    network = Brightness()
    monkeypatch.setattr(inference, "make_network", lambda *_: network)
    monkeypatch.setattr(inference, "load_trained", lambda *_: {"weights": "none"})
    return network


@pytest.fixture
def segment(tmp_path, network):
    """Run predict on a folder of images -> name -> label. Options are settings; K is the scale of the photographs."""
    data = make_segmentation_data(tmp_path)
    (tmp_path / "final.pth").touch()

    def run(factor=1, **options):
        photos, out = tmp_path / f"photos{factor}", tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        photos.mkdir(exist_ok=True)
        for name in ("v0", "v1", "v2"):
            image = Image.open(data / "JPEGImages" / f"{name}.png")
            size = [factor * side for side in image.size]
            image.resize(size, Image.Resampling.BICUBIC).save(photos / f"{name}.png")
        paths = {"image_dir": str(photos), "out": str(out), "model_path": str(tmp_path / "final.pth"), "num_workers": 1}
        predict.run(small_settings(data, PredictSettings, **paths, **options))
        return {name: read_label(out / "labels" / f"{name}.png") for name in ("v0", "v1", "v2")}

    return run


@pytest.mark.parametrize(
    ("settings", "size", "seen"),
    [
        (SizeSettings(), (300, 400), None),
        (SizeSettings(BASE=200), (300, 400), (150, 200)),
        (SizeSettings(BASE=200), (40, 50), (160, 200)),
        (SizeSettings(BASE=200, TEST=100), (400, 300), (100, 75)),
        (SizeSettings(TEST=513), (375, 500), (375, 500)),  # as in the published files
        (SizeSettings(TEST=513), (1026, 1000), (513, 500)),
    ],
)
def test_network_sees_a_photograph_at_the_size_of_its_settings(settings, size, seen):
    of_network = size_of_network(settings, full_size=False)
    assert (of_network and of_network(size)) == seen
    assert size_of_network(settings, full_size=True) is None


@pytest.mark.parametrize("crf", [False, True])
def test_labels_of_enlarged_photographs_agree_with_those_of_the_originals(segment, network, crf):
    options = {"IMAGE__SIZE__BASE": 48, "crf": crf, "CRF__SIZE": 64}
    original = segment(1, **options)
    small = set(network.seen)
    enlarged_four_times = segment(4, **options)
    assert set(network.seen) == small and max(max(size) for size in small) == 48
    agreement = ConfusionMatrix(3)
    for name, label in original.items():
        large = enlarged_four_times[name]
        assert large.shape == tuple(4 * side for side in label.shape)
        agreement.update(np.asarray(Image.fromarray(large).resize(label.shape[::-1], Image.Resampling.NEAREST)), label)
    assert agreement.scores().mean_iou > 0.9
    assert np.count_nonzero(agreement.matrix.sum(axis=1)) == 3


def test_full_size_shows_the_photograph_as_it_is(segment, network):
    segment(2, IMAGE__SIZE__BASE=24, full_size="true")
    assert set(network.seen) == {(80, 96), (88, 72)}


def test_labels_of_another_seen_size_are_not_mixed(segment, tmp_path):
    data = make_segmentation_data(tmp_path / "again")
    paths = {"image_dir": str(data / "JPEGImages"), "out": str(tmp_path / "out"), "num_workers": 1}
    options = paths | {"model_path": str(tmp_path / "final.pth")}
    predict.run(small_settings(data, PredictSettings, **options, IMAGE__SIZE__BASE=24))
    with pytest.raises(UserError, match="seen"):
        predict.run(small_settings(data, PredictSettings, **options, IMAGE__SIZE__BASE=32))


def test_labels_are_those_of_all_maps_enlarged_at_once():
    maps = np.random.default_rng(0).standard_normal((3, 7, 9), np.float32)
    for size in ((50, 61), (5, 40), (7, 9)):
        label = strongest(maps, size)
        assert label.shape == size and (label == enlarged(maps, size).argmax(axis=0)).all()


@pytest.mark.slow
def test_a_photograph_of_twelve_megapixels_is_never_held_as_probabilities(monkeypatch):
    largest = []
    monkeypatch.setattr("deeplabv2.logits.enlarged", lambda maps, size: largest.append(maps) or enlarged(maps, size))
    logits = np.zeros((21, 48, 36), np.float16)
    logits[3, :24] = 1
    label = StoredLogits(np.arange(21, dtype=np.uint8), logits, (4000, 3000)).label()
    assert label.shape == (4000, 3000) and label[0, 0] == 3 and label[-1, -1] == 0
    assert {len(maps) for maps in largest} == {1}


def test_views_are_averaged_and_mirror_images_turned_back():
    network, images = Brightness(), torch.randn(2, 3, 33, 41, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logits_of(network, images, Views()), network(images))
    mean = logits_of(network, images, Views((1.0, 0.5), mirror=True))
    assert mean.shape == network(images).shape
    assert mean.exp().sum(dim=1).allclose(torch.ones(2, 9, 11), atol=1e-4)
    mirrored = logits_of(network, images.flip(-1), Views((1.0,), mirror=True))
    assert mirrored.flip(-1).allclose(logits_of(network, images, Views((1.0,), mirror=True)), atol=1e-4)
    assert mean.min() >= np.log(SMALLEST) - 1e-3


def test_crf_sees_no_more_than_its_size():
    assert bounded((3000, 4000), 640) == (480, 640)
    assert bounded((300, 400), 640) == (300, 400)
    assert bounded((3000, 4000), None) == (3000, 4000)


@pytest.mark.parametrize(("size", "seen"), [((1, 1), (20, 20)), ((1, 500), (20, 500)), ((40, 48), (40, 48))])
def test_a_tiny_picture_is_enlarged_until_the_smallest_scale_leaves_something(size, seen):
    assert not_too_small(size, resize=None) == seen
