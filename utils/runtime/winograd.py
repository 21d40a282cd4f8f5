"""Fast 3x3 convolutions of many channels on a CPU: Winograd's F(m x m, 3 x 3). Lavin & Gray, CVPR 2016, sec. 4.

A tile of 2 x 2 outputs takes 16 products per pair of channels instead of 36, one of 4 x 4 takes 36 instead of 144.
With many channels, this saves more than the sums that transform inputs and outputs cost. A dilated convolution is an
ordinary one on each sub-grid.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

# what pays, see docs/results.md
LEAST_CHANNELS = {torch.float32: 256, torch.bfloat16: 512}
# sides of a tile's outputs without and with gradients: large tiles are less exact and their weights take longer to
# transform, which a training does in each step
LARGE = {torch.float32: 4, torch.float64: 4, torch.bfloat16: 2}
SMALL = 2
LEAST_TILES = 256  # fewer do not make up for transforming the weights
# of transformed maps at a time, in bytes: more is not faster, and a step of ResNet-38 would need 1 GiB more
MOST_TRANSFORMED = 2**26


class _Grid(NamedTuple):
    """The tiles of maps (images, height, width) on each of dilation**2 sub-grids: rows * columns of them.

    side: of a tile's outputs, 2 or 4.
    """

    images: int
    height: int
    width: int
    dilation: int
    side: int

    @property
    def rows(self) -> int:
        return -(-self.height // (self.side * self.dilation))

    @property
    def columns(self) -> int:
        return -(-self.width // (self.side * self.dilation))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images, self.dilation, self.dilation, self.rows, self.columns

    @property
    def tiles(self) -> int:
        return math.prod(self.shape)

    def images_at_a_time(self, channels: int, dtype: torch.dtype) -> int:
        """Return of how many images the maps (C, H, W) should be transformed at a time."""
        values = (self.side + 2) ** 2 * self.tiles * channels
        return max(MOST_TRANSFORMED * self.images // (values * dtype.itemsize), 1)

    def padded_view(self, x: Tensor, margin: int) -> Tensor:
        """Copy x (N, C, H, W) between `margin` pixels of zeros.

        Returns (N, d, d, h, w, C), the maps of the d * d sub-grids: h = side * rows + 2 * margin, w likewise.
        """
        n, d = self.images, self.dilation
        rows, columns = self.side * self.rows + 2 * margin, self.side * self.columns + 2 * margin
        padded = x.new_zeros(n, rows * d, columns * d, x.shape[1])
        inside = padded[:, margin * d : margin * d + self.height, margin * d : margin * d + self.width]
        inside.copy_(x.permute(0, 2, 3, 1))
        return padded.view(n, rows, d, columns, d, -1).permute(0, 2, 4, 1, 3, 5)


def pays(x: Tensor, weight: Tensor, dtype: torch.dtype, dilation: int) -> bool:
    """Return whether x (N, C, H, W) and weights (O, C, 3, 3) are large enough for this way, computed in dtype.

    Maps must be channels-last: between plain maps, copying takes what the arithmetic gains.
    """
    least = LEAST_CHANNELS[dtype]
    return (
        min(x.shape[1], len(weight)) >= least
        and x.is_contiguous(memory_format=torch.channels_last)
        and _grid(x, dilation, SMALL).tiles >= LEAST_TILES
    )


def needs_gradient(x: Tensor, weight: Tensor) -> bool:
    """Return whether a convolution computed now needs a gradient."""
    return torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)


def convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Convolve x (N, C, H, W) with weights (O, C, 3, 3), padded to the same size. Differentiable."""
    if needs_gradient(x, weight):
        return _Winograd.apply(x, weight, dilation)
    return _product(x, _kept_filters(weight, x.dtype), dilation)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _product(x, _filters(weight.to(x.dtype), SMALL), dilation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            turned = weight.to(x.dtype).flip(2, 3).transpose(0, 1)
            grad_x = _product(grad, _filters(turned, SMALL), ctx.dilation)
        if ctx.needs_input_grad[1]:
            grad_weight = _filters_backward(_product_backward(x, grad, ctx.dilation)).to(weight.dtype)
        return grad_x, grad_weight, None


def _grid(x: Tensor, dilation: int, side: int) -> _Grid:
    n, _, height, width = x.shape
    return _Grid(n, height, width, dilation, side)


def _product(x: Tensor, filters: Tensor, dilation: int) -> Tensor:
    """Convolve x (N, C, H, W) with transformed weights (16 or 36, O, C) -> (N, O, H, W)."""
    n, channels, height, width = x.shape
    outputs, side = filters.shape[1], math.isqrt(len(filters)) - 2
    # and not a view, which may not be changed in place
    result = torch.empty((n, outputs, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    count = _grid(x, dilation, side).images_at_a_time(max(channels, outputs), x.dtype)
    for part, out in zip(x.split(count), result.split(count)):
        grid = _grid(part, dilation, side)
        _outputs(torch.bmm(_inputs(part, grid), filters.transpose(1, 2)), grid, out)
    return result


def _product_backward(x: Tensor, grad: Tensor, dilation: int) -> Tensor:
    """Return the gradient of the transformed weights (16, O, C). grad (N, O, H, W): that of the convolution."""
    total = None
    count = _grid(x, dilation, SMALL).images_at_a_time(max(x.shape[1], grad.shape[1]), x.dtype)
    for part, of_part in zip(x.split(count), grad.split(count)):
        grid = _grid(part, dilation, SMALL)
        found = torch.bmm(_spread(of_part, grid).transpose(1, 2), _inputs(part, grid))
        # a sum in bfloat16 would be rounded each time
        total = found if total is None else total.to(torch.promote_types(x.dtype, torch.float32)).add_(found)
    assert total is not None  # see LEAST_TILES
    return total


def _inputs(x: Tensor, grid: _Grid) -> Tensor:
    """Transform x (N, C, H, W) -> (16 or 36, T, C): B' d B of each tile d, which overlap by two pixels."""
    padded = grid.padded_view(x, 1)
    size = grid.side + 2
    along = {2: _inputs_to_four, 4: _inputs_to_six}[grid.side]
    result = x.new_empty(size, size, *grid.shape, x.shape[1])
    for i, rows in enumerate(along(_of_tiles(padded, 3, grid.side), [None] * size)):
        along(_of_tiles(rows, 4, grid.side), list(result[i]))
    return result.view(size * size, grid.tiles, -1)


def _of_tiles(maps: Tensor, dim: int, side: int) -> list[Tensor]:
    """Return the first values of all tiles along a dimension, the second ones, and so on: side + 2 views."""
    inside = maps.shape[dim] - 2
    index = [slice(None)] * dim
    return [maps[(*index, slice(first, first + inside, side))] for first in range(side + 2)]


def _inputs_to_four(d: Sequence[Tensor], to: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Multiply d by B': (d0 - d2, d1 + d2, d2 - d1, d1 - d3)."""
    d0, d1, d2, d3 = d
    return (
        torch.sub(d0, d2, out=to[0]),
        torch.add(d1, d2, out=to[1]),
        torch.sub(d2, d1, out=to[2]),
        torch.sub(d1, d3, out=to[3]),
    )


def _inputs_to_six(d: Sequence[Tensor], to: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Multiply d by B' of F(4 x 4, 3 x 3)."""
    d0, d1, d2, d3, d4, d5 = d
    even, odd = torch.sub(d4, d2, alpha=4), torch.sub(d3, d1, alpha=4)
    near, far = d4 - d2, d3 - d1
    return (
        torch.sub(even, d2, out=to[0]).add_(d0, alpha=4),
        torch.add(even, odd, out=to[1]),
        torch.sub(even, odd, out=to[2]),
        torch.add(near, far, alpha=2, out=to[3]),
        torch.sub(near, far, alpha=2, out=to[4]),
        torch.sub(d5, d3, out=to[5]).sub_(far, alpha=4),
    )


def _outputs(products: Tensor, grid: _Grid, out: Tensor) -> None:
    """Transform products (16 or 36, T, O) into out (N, O, H, W): A' m A of each tile m."""
    side = grid.side
    along = {2: _outputs_of_four, 4: _outputs_of_six}[side]
    m = products.view(side + 2, side + 2, *grid.shape, -1)
    n, d, channels = grid.images, grid.dilation, m.shape[-1]
    height, width = side * grid.rows * d, side * grid.columns * d
    out = out.permute(0, 2, 3, 1)
    is_whole = (height, width) == (grid.height, grid.width)
    whole = out if is_whole else m.new_empty(n, height, width, channels)
    tiles = whole.view(n, grid.rows, side, d, grid.columns, side, d, channels).permute(2, 5, 0, 3, 6, 1, 4, 7)
    for i, rows in enumerate(along(m)):
        for j, column in enumerate(along(rows)):
            tiles[i, j].copy_(column)
    if not is_whole:
        out.copy_(whole[:, : grid.height, : grid.width])


def _outputs_of_four(m: Tensor) -> tuple[Tensor, ...]:
    """Multiply the first dimension of m (4, ...) by A': (m0 + m1 + m2, m1 - m2 - m3)."""
    return (m[0] + m[1]).add_(m[2]), (m[1] - m[2]).sub_(m[3])


def _outputs_of_six(m: Tensor) -> tuple[Tensor, ...]:
    """Multiply the first dimension of m (6, ...) by A' of F(4 x 4, 3 x 3)."""
    near, far = m[1] + m[2], m[3] + m[4]
    turned, turned_far = m[1] - m[2], m[3] - m[4]
    return (
        (m[0] + near).add_(far),
        turned.add(turned_far, alpha=2),
        near.add_(far, alpha=4),
        turned.add_(turned_far, alpha=8).add_(m[5]),
    )


def _spread(grad: Tensor, grid: _Grid) -> Tensor:
    """Transform the gradient of the outputs (N, O, H, W) -> that of the products (16, T, O): A g A' of each tile."""
    padded = grid.padded_view(grad, 0)
    result = grad.new_empty(4, 4, *grid.shape, grad.shape[1])
    for i, rows in enumerate(_spread_along(padded[:, :, :, ::2], padded[:, :, :, 1::2])):
        for j, tile in enumerate(_spread_along(rows[:, :, :, :, ::2], rows[:, :, :, :, 1::2])):
            result[i, j].copy_(tile)
    return result.view(16, grid.tiles, -1)


def _spread_along(first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    return first, first + second, first - second, -second


def _filters(weight: Tensor, side: int) -> Tensor:
    """Transform weights (O, C, 3, 3) -> (16 or 36, O, C): G g G' of each filter g (3 x 3)."""
    g = weight.permute(2, 3, 0, 1)
    size = side + 2
    along = {2: _filter_to_four, 4: _filter_to_six}[side]
    result = weight.new_empty(size, size, *weight.shape[:2])
    for i, rows in enumerate(along(g)):
        for j, column in enumerate(along(rows)):
            result[i, j].copy_(column)
    return result.view(size * size, *weight.shape[:2])


def _filter_to_four(g: Tensor) -> tuple[Tensor, ...]:
    """Multiply the first dimension of g (3, ...) by G: (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2)."""
    half = (g[0] + g[2]).mul_(0.5)
    return g[0], half.add(g[1], alpha=0.5), half.sub(g[1], alpha=0.5), g[2]


def _filter_to_six(g: Tensor) -> tuple[Tensor, ...]:
    """Multiply the first dimension of g (3, ...) by G of F(4 x 4, 3 x 3)."""
    sides = (g[0] + g[2]).div_(-6)
    far = (g[0] / 24).add_(g[2], alpha=1 / 6)
    return (
        g[0] / 4,
        sides.sub(g[1], alpha=1 / 6),
        sides.add(g[1], alpha=1 / 6),
        far.add(g[1], alpha=1 / 12),
        far.sub(g[1], alpha=1 / 12),
        g[2],
    )


def _filters_backward(grad: Tensor) -> Tensor:
    """Return the gradient of the weights (O, C, 3, 3) from that of the transformed ones (16, O, C): G' u G."""
    u = grad.view(4, 4, *grad.shape[1:])
    return torch.stack([torch.stack(_three(column)) for column in _three(u)]).permute(2, 3, 0, 1)


def _three(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Multiply the first dimension of u (4, ...) by G'."""
    half, difference = (u[1] + u[2]).mul_(0.5), (u[1] - u[2]).mul_(0.5)
    return u[0] + half, difference, half + u[3]


# transformed weights of networks in use, so that inference transforms them once
_KEPT = WeakTensorKeyDictionary()


def _kept_filters(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weights transformed for large tiles."""
    version = (0 if weight.is_inference() else weight._version, weight.data_ptr(), dtype)
    found = _KEPT.get(weight)
    if found is None or found[0] != version:
        found = _KEPT[weight] = (version, _filters(weight.detach().to(dtype), LARGE[dtype]))
    return found[1]
