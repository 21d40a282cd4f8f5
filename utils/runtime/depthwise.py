"""Fast gradients of depthwise convolutions on a CPU: of all in bfloat16, and of dilated ones in float32.

oneDNN's bfloat16 kernels are four to ten times slower than its float32 ones for the gradients of 5x5 weights, for the
input gradients of strided convolutions, and for dilated convolutions. With these gradients, a training step of
EfficientNet-Lite0 takes half the time. In float32, the gradients of dilated convolutions alone are slow: four to five
times slower than those of the sub-grids (docs/results.md).
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(
    x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Convolve x (N, C, H, W) with weights (C, 1, k, k) of the same type. Differentiable."""
    return _Depthwise.apply(x, weight, stride, padding, dilation)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution: (N, C, H, W) with weights (C, 1, k, k)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        size = x.shape[2:]
        ctx.grid = dilation[0] if splits(weight, stride, padding, dilation) else 1
        ctx.is_split = ctx.grid > 1 and x.dtype != torch.float32  # in float32, only the backward pass is faster so
        ctx.geometry = forward = _geometry(stride, padding, dilation, groups=x.shape[1])
        if ctx.grid > 1:
            narrow = padding[0] // ctx.grid, padding[1] // ctx.grid
            ctx.geometry = _geometry(stride, narrow, (1, 1), groups=x.shape[1])
        if ctx.is_split:
            x, forward = sub_grids(x, ctx.grid), ctx.geometry
        ctx.save_for_backward(x, weight)
        result = torch.ops.aten.convolution(x, weight, None, *forward)
        return whole_grid(result, ctx.grid, size) if ctx.is_split else result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        size = grad.shape[2:]
        if ctx.grid > 1:
            grad = sub_grids(grad, ctx.grid)
            x = x if ctx.is_split else sub_grids(x, ctx.grid)
        grad_x = grad_weight = None
        stride = ctx.geometry[0]
        if ctx.needs_input_grad[0]:
            exact = stride != [1, 1]
            operands = (grad.float(), x.float(), weight.float()) if exact else (grad, x, weight)
            grad_x = _gradients(operands, ctx.geometry, [True, False, False])[0].to(weight.dtype)
            if ctx.grid > 1:
                grad_x = whole_grid(grad_x, ctx.grid, size)
        if ctx.needs_input_grad[1]:
            operands = (grad.float(), x.float(), weight.float())
            grad_weight = _gradients(operands, ctx.geometry, [False, True, False])[1].to(weight.dtype)
        return grad_x, grad_weight, None, None, None


def _gradients(operands: tuple[Tensor, Tensor, Tensor], geometry: list[Any], wanted: list[bool]) -> tuple[Tensor, ...]:
    return torch.ops.aten.convolution_backward(*operands, None, *geometry, wanted)


def _geometry(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], *, groups: int
) -> list[Any]:
    """Return the arguments of aten.convolution behind the bias."""
    return [list(stride), list(padding), list(dilation), False, [0, 0], groups]


def splits(weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]) -> bool:
    """Return whether a convolution is dilated, and an ordinary one on each sub-grid of its dilation."""
    step = dilation[0]
    keeps_size = all(2 * pad == step * (side - 1) and side % 2 for pad, side in zip(padding, weight.shape[2:]))
    return stride == (1, 1) and step == dilation[1] and step > 1 and keeps_size


def sub_grids(x: Tensor, step: int) -> Tensor:
    """Split (N, C, H, W) into grids of every `step`-th pixel, zero-padded: (N * step**2, C, H / step, W / step)."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % step, 0, -height % step)).permute(0, 2, 3, 1)
    n, height, width, channels = x.shape
    parts = x.reshape(n, height // step, step, width // step, step, channels).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(n * step * step, height // step, width // step, channels).permute(0, 3, 1, 2)


def whole_grid(x: Tensor, step: int, size: Iterable[int]) -> Tensor:
    """Invert sub_grids. size: height and width of the result."""
    height, width = size
    n, channels, rows, columns = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(n // step**2, step, step, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    whole = parts.reshape(n // step**2, rows * step, columns * step, channels).permute(0, 3, 1, 2)
    return whole[:, :, :height, :width]
