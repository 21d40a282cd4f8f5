"""TensorFlow's SAME padding of strided convolutions, as in the weights of EfficientNet-Lite, without a padded copy."""

from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, conv2d_same
from torch import Tensor, nn

from models.freezing import needs_gradient


def crop_outputs(network: nn.Module) -> None:
    """Exchange timm's strided convolutions with SAME padding, which copy their input to pad it, in place."""
    for module in network.modules():
        if type(module) is Conv2dSame:
            module.__class__ = SameConv2d  # type: ignore[assignment]


class SameConv2d(Conv2dSame):
    """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)), zeros around the input, the odd one at its end.

    A convolution pads both ends alike. With enough zeros for the longer end, outputs are computed for positions before
    the first one, too, and left out.
    """

    forward = nn.Conv2d.forward

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # the gradient of what is left out costs more than the copy
        # an exported network must find the padding by its own operations
        if needs_gradient(input, weight) or torch.jit.is_tracing():
            geometry: Any = self.stride, self.padding, self.dilation, self.groups
            return conv2d_same(input, weight, bias, *geometry)
        sides = [_Side(*values) for values in zip(input.shape[2:], self.kernel_size, self.stride, self.dilation)]
        padding = [side.padding for side in sides]
        whole = F.conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)
        rows, columns = (slice(side.skipped, side.skipped + side.outputs) for side in sides)
        return whole[:, :, rows, columns]


class _Side:
    """One side of a map: zeros at both of its ends, and how many positions before the first one they add."""

    def __init__(self, length: int, kernel: int, stride: int, dilation: int) -> None:
        self.outputs = -(-length // stride)
        total = max((self.outputs - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
        before, after = total // 2, total - total // 2
        self.skipped = next(n for n in count() if before + n * stride >= after)
        self.padding = before + self.skipped * stride
