"""Fast gradients of depthwise convolutions on a CPU: of all in bfloat16, of wide and of dilated ones in float32.

oneDNN has fast kernels for the gradient of weights up to three columns wide; for wider ones it takes 15 to 50 times as
long, so they are computed three columns at a time. For maps with fewer rows than the weights it takes 5 to 20 times as
long, so zero rows are added. Dilated convolutions are computed as ordinary ones on each sub-grid of their dilation. The
bfloat16 kernels for the gradient of the input are slow if the convolution is strided, so it is computed in float32;
else it is itself a convolution (docs/results.md, "Where a training step goes").
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FAST_COLUMNS = 3  # of weights whose gradient oneDNN computes fast


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
        if ctx.needs_input_grad[0]:
            grad_x = _grad_of_input(grad, x, weight, ctx.geometry)
            if ctx.grid > 1:
                grad_x = whole_grid(grad_x, ctx.grid, size)
        if ctx.needs_input_grad[1]:
            grad_weight = _grad_of_weight(grad, x, weight, ctx.geometry)
        return grad_x, grad_weight, None, None, None


def _grad_of_input(grad: Tensor, x: Tensor, weight: Tensor, geometry: list[Any]) -> Tensor:
    stride, padding, dilation, *more = geometry
    # of the convolution with the flipped weights, which is the gradient without a stride
    padding = [step * (side - 1) - pad for step, side, pad in zip(dilation, weight.shape[2:], padding)]
    if stride == [1, 1] and min(padding) >= 0:
        return torch.ops.aten.convolution(grad, weight.flip(2, 3), None, stride, padding, dilation, *more)
    # of x, only the size is used
    operands = grad.float(), torch.empty_like(x, dtype=torch.float32), weight.float()
    return _gradients(operands, geometry, [True, False, False])[0].to(weight.dtype)


def _grad_of_weight(grad: Tensor, x: Tensor, weight: Tensor, geometry: list[Any]) -> Tensor:
    """Compute the gradient of at most FAST_COLUMNS columns at a time, each block from the part of x that it sees."""
    stride, padding, dilation, *more = geometry
    height, width = weight.shape[2:]
    if x.shape[2] < height:  # oneDNN has no fast kernel for fewer rows than the weights have
        x, padding = F.pad(x, (0, 0, padding[0], padding[0])), [0, padding[1]]
    if width <= FAST_COLUMNS:
        return _gradients((grad, x, weight), [stride, padding, dilation, *more], [False, True, False])[1]
    result = torch.empty_like(weight)
    block = weight[..., :FAST_COLUMNS].contiguous()  # only its size is used
    extent = (grad.shape[3] - 1) * stride[1] + (FAST_COLUMNS - 1) * dilation[1] + 1
    for first in sorted({min(start, width - FAST_COLUMNS) for start in range(0, width, FAST_COLUMNS)}):
        left = padding[1] - first * dilation[1]
        seen = F.pad(x, (left, extent - left - x.shape[3]))
        narrow = [stride, [padding[0], 0], dilation, *more]
        columns = _gradients((grad, seen, block), narrow, [False, True, False])[1]
        result[..., first : first + FAST_COLUMNS] = columns
    return result


def _gradients(operands: tuple[Tensor, Tensor, Tensor], geometry: list[Any], wanted: list[bool]) -> tuple[Tensor, ...]:
    return torch.ops.aten.convolution_backward(*operands, None, *geometry, wanted)


def _geometry(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], *, groups: int
) -> list[Any]:
    """Return the arguments of aten.convolution behind the bias."""
    return [list(stride), list(padding), list(dilation), False, [0, 0], groups]


def pays(
    x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> bool:
    """Return whether convolve is faster than torch's convolution in float32."""
    is_wide = weight.shape[3] > FAST_COLUMNS and x.is_contiguous(memory_format=torch.channels_last)
    return is_wide or splits(weight, stride, padding, dilation)


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
