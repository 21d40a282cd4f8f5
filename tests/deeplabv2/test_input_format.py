"""The input formats of the networks."""

import pytest
import torch

from deeplabv2.input_format import CAFFE, IMAGENET


def colour(*rgb):
    return torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1)


def test_the_published_input_is_bgr_minus_its_mean():
    prepared = CAFFE.prepare(colour(10, 20, 30)).flatten().tolist()
    assert prepared == pytest.approx([30 - 104.008, 20 - 116.669, 10 - 122.675], abs=1e-4)


def test_scaled_input_is_rgb_by_deviation():
    prepared = IMAGENET.prepare(colour(255, 0, 51)).flatten().tolist()
    assert prepared == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225], abs=1e-5)


@pytest.mark.parametrize("form", [CAFFE, IMAGENET])
def test_the_fill_colour_becomes_zero(form):
    filled = torch.tensor(form.fill).view(1, 3, 1, 1)
    torch.testing.assert_close(form.prepare(filled), torch.zeros(1, 3, 1, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", [CAFFE, IMAGENET])
def test_another_mean_is_given_as_rgb(form):
    other = form.with_mean((100.0, 110.0, 120.0))
    assert other.fill == pytest.approx((100, 110, 120))
    assert form.with_mean(None) is form
    assert CAFFE.with_mean((1.0, 2.0, 3.0)).mean == (3.0, 2.0, 1.0)
