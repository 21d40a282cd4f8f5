"""Exchanges convolutions on a CPU for faster ones with the same result but for rounding."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from utils.runtime import depthwise, winograd

TYPES = (torch.float32, torch.bfloat16)


class FastConvolutions(TorchFunctionMode):
    """Mode in which some convolutions on the CPU are computed by utils.runtime.depthwise or utils.runtime.winograd."""

    active = 0  # how many of them surround the code that runs

    def __enter__(self) -> Self:
        FastConvolutions.active += 1
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        FastConvolutions.active -= 1
        super().__exit__(*error)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d:
            found = _convolve(*args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor | None:
    """Compute the convolution, or return None if none of the faster ways applies."""
    if input.device.type != "cpu" or input.ndim != 4 or isinstance(padding, str):
        return None
    is_mixed = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if is_mixed else input.dtype
    if dtype not in TYPES or not (is_mixed or input.dtype == weight.dtype):
        return None
    geometry = _pair(stride), _pair(padding), _pair(dilation)
    # its gradients are what is faster
    is_depthwise = 1 < groups == input.shape[1] == len(weight) and winograd.needs_gradient(input, weight)
    if groups == 1 and _is_plain(weight, *geometry) and winograd.pays(input, weight, dtype, geometry[2][0]):
        result = winograd.convolve(input.to(dtype), weight, geometry[2][0])
    elif is_depthwise and (dtype == torch.bfloat16 or depthwise.pays(input, weight, *geometry)):
        result = depthwise.convolve(input.to(dtype), weight.to(dtype), *geometry)
    else:
        return None
    return result if bias is None else result + bias.to(result.dtype)[:, None, None]


def _is_plain(weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]) -> bool:
    """Return whether this is a 3x3 convolution that keeps the size."""
    return weight.shape[2:] == (3, 3) and stride == (1, 1) and padding == dilation == (dilation[0],) * 2


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
