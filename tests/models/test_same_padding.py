"""Strided convolutions with SAME padding that crop their outputs, against timm's, which pad their inputs."""

import itertools

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from models.same_padding import SameConv2d, crop_outputs


@pytest.mark.parametrize(("kernel", "stride", "dilation"), list(itertools.product((1, 2, 3, 5, 7), (1, 2, 3), (1, 2))))
def test_values_are_those_of_the_padded_input(kernel, stride, dilation):
    torch.manual_seed(0)
    for height, width in ((1, 4), (2, 5), (8, 11), (13, 9)):
        layer = nn.Sequential(Conv2dSame(4, 4, kernel, stride, dilation=dilation, groups=4))
        images = torch.randn(2, 4, height, width)
        expected = layer(images)
        crop_outputs(layer)
        assert type(layer[0]) is SameConv2d
        with torch.no_grad():
            torch.testing.assert_close(layer(images), expected)
        torch.testing.assert_close(layer(images), expected)  # with gradients, it pads


def test_one_position_is_left_out_where_the_last_zero_is_odd():
    """An input of four, a kernel of three and a stride of two: zeros after the last value only."""
    layer = nn.Sequential(Conv2dSame(1, 1, 3, 2, bias=False))
    nn.init.ones_(layer[0].weight)
    crop_outputs(layer)
    with torch.no_grad():
        found = layer(torch.arange(16.0).view(1, 1, 4, 4))
    # windows start at the first pixel: 0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, then with one or two sides of zeros
    assert found.flatten().tolist() == [45.0, 2 + 3 + 6 + 7 + 10 + 11, 8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15]


def test_other_layers_stay():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), nn.BatchNorm2d(4))
    crop_outputs(layers)
    assert type(layers[0]) is nn.Conv2d
