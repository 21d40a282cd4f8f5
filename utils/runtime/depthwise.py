"""Fast gradients of depthwise convolutions in bfloat16 on a CPU."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class FastDepthwise(TorchFunctionMode):
    """Mode in which bfloat16 depthwise convolutions on the CPU use the gradients of _Depthwise.

    oneDNN's bfloat16 kernels are four to ten times slower than its float32 ones for the gradients of 5x5 weights, for
    the input gradients of strided convolutions, and for dilated convolutions. With this mode a training step of
    EfficientNet-Lite0 takes half the time.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            found = _depthwise(*args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _depthwise(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor | None:
    """Compute the convolution, or return None if it is not one of those that this module accelerates."""
    if input.device.type != "cpu" or torch.get_autocast_dtype("cpu") != torch.bfloat16 or input.ndim != 4:
        return None
    if groups < 2 or not groups == input.shape[1] == weight.shape[0] or isinstance(padding, str):
        return None
    result = _Depthwise.apply(input.bfloat16(), weight.bfloat16(), _pair(stride), _pair(padding), _pair(dilation))
    return result if bias is None else result + bias.bfloat16()[:, None, None]


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


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
        step = dilation[0]
        # a dilated convolution is an ordinary one on each sub-grid of its dilation
        splits = stride == (1, 1) and step == dilation[1] and _keeps_size(weight, padding, step)
        ctx.grid = step if splits else 1
        if ctx.grid > 1:
            x, padding, dilation = sub_grids(x, step), (padding[0] // step, padding[1] // step), (1, 1)
        ctx.save_for_backward(x, weight)
        ctx.geometry = [list(stride), list(padding), list(dilation), False, [0, 0], x.shape[1]]
        result = torch.ops.aten.convolution(x, weight, None, *ctx.geometry)
        return whole_grid(result, ctx.grid, size) if ctx.grid > 1 else result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        size = grad.shape[2:]
        if ctx.grid > 1:
            grad = sub_grids(grad, ctx.grid)
        grad_x = grad_weight = None
        stride = ctx.geometry[0]
        if ctx.needs_input_grad[0]:
            exact = stride != [1, 1]
            operands = (grad.float(), x.float(), weight.float()) if exact else (grad, x, weight)
            grad_x = _gradients(operands, ctx.geometry, [True, False, False])[0].bfloat16()
            if ctx.grid > 1:
                grad_x = whole_grid(grad_x, ctx.grid, size)
        if ctx.needs_input_grad[1]:
            operands = (grad.float(), x.float(), weight.float())
            grad_weight = _gradients(operands, ctx.geometry, [False, True, False])[1].bfloat16()
        return grad_x, grad_weight, None, None, None


def _gradients(operands: tuple[Tensor, Tensor, Tensor], geometry: list[Any], wanted: list[bool]) -> tuple[Tensor, ...]:
    return torch.ops.aten.convolution_backward(*operands, None, *geometry, wanted)


def _keeps_size(weight: Tensor, padding: tuple[int, int], dilation: int) -> bool:
    return all(2 * pad == dilation * (side - 1) and side % 2 for pad, side in zip(padding, weight.shape[2:]))


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
