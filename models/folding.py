"""Batch norms with fixed weights and statistics: part of the convolution before them, and without a stored input.

In a convolution, a map is written once instead of twice: a quarter of the time of a network such as EfficientNet on a
CPU. The convolution's weights are multiplied by the norm's factors: Jacob et al., CVPR 2018, sec. 3.2. Where gradients
pass through a fixed norm, they are multiplied by the same factors; torch would store its input, half of what it stores.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from models.freezing import needs_gradient

SIDE = 64  # of the image that shows which norm follows which convolution


def fold_norms(network: nn.Module) -> int:
    """Let the network, which takes images (N, 3, H, W), compute fixed norms in less time and memory.

    It is run once to find pairs: a norm whose only input is the output of a convolution that nothing else uses. Each is
    computed as one convolution whenever the norm is in evaluation mode and none of their weights needs a gradient;
    weights that change later are used as they are then. Other norms in evaluation mode, whose weights need no gradient,
    do not store their input. Parameters, their names and results stay the same but for rounding. Returns the number of
    pairs.
    """
    if not any(map(_is_foldable_norm, network.modules())):
        return 0
    image = next(network.parameters()).new_zeros(1, 3, SIDE, SIDE)
    modes = {module: module.training for module in network.modules()}
    try:
        with _Pairs(network.modules()) as pairs, torch.no_grad():
            pairs.end(network.eval()(image))
    finally:
        for module, mode in modes.items():
            module.training = mode
    found = pairs.found()
    for convolution, norm in found:
        folded = _Folded(convolution, norm)
        vars(convolution)["forward"], vars(norm)["forward"] = folded, _Norm(norm, folded)
    for module in network.modules():
        if _is_foldable_norm(module) and "forward" not in vars(module):
            vars(module)["forward"] = _Norm(module)
    return len(found)


class _Folded:
    """The forward pass of a convolution: with the norm after it where both are fixed."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.convolution, self.norm = convolution, norm
        self._weights: tuple[Any, Tensor, Tensor] | None = None  # what they were computed from, and the weights

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.convolution
        weight, bias = self._fixed() if self.applies() else (layer.weight, layer.bias)
        return layer._conv_forward(x, weight, bias)

    def applies(self) -> bool:
        """Return whether the norm is part of the convolution now."""
        return _is_fixed(self.norm) and not needs_gradient(*self.convolution.parameters())

    def _fixed(self) -> tuple[Tensor, Tensor]:
        layer, norm = self.convolution, self.norm
        dtype = layer.weight.dtype
        if torch.is_autocast_enabled(layer.weight.device.type):
            dtype = torch.get_autocast_dtype(layer.weight.device.type)
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None and var is not None  # see _is_foldable_norm
        used = (layer.weight, layer.bias, mean, var, norm.weight, norm.bias)
        state = dtype, [(id(t), t._version, t.device) for t in used if t is not None]
        if self._weights is None or self._weights[0] != state:
            # a network may be trained after it was used in inference mode, whose tensors cannot be
            with torch.inference_mode(False), torch.no_grad():
                weight, bias = fuse_conv_bn_weights(
                    layer.weight, layer.bias, mean, var, norm.eps, norm.weight, norm.bias
                )
                like = layer.weight.to(dtype, copy=True)  # keeps its memory layout
                self._weights = state, like.copy_(weight), bias.detach().to(dtype)
        return self._weights[1:]


class _Norm:
    """The forward pass of a norm, which the convolution before it may have computed."""

    def __init__(self, norm: nn.BatchNorm2d, convolution: _Folded | None = None) -> None:
        self.norm, self.convolution = norm, convolution

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        if self.convolution is None or not self.convolution.applies():
            if not (needs_gradient(x) and _is_fixed(norm)):
                return type(norm).forward(norm, x)
            x = _FixedNorm.apply(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
        for part in _further(norm):
            x = part(x)
        return x


class _FixedNorm(torch.autograd.Function):
    """A batch norm of which only the input has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        factor = (var + eps).rsqrt()
        ctx.save_for_backward(factor if weight is None else factor * weight)
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (factor,) = ctx.saved_tensors
        # a norm's kernel, which multiplies half-precision maps by factors in single precision
        neutral = torch.zeros_like(factor), torch.ones_like(factor)
        return F.batch_norm(grads[0], *neutral, factor, neutral[0], eps=0.0), None, None, None, None, None


def _is_fixed(norm: nn.BatchNorm2d) -> bool:
    is_constant = not norm.training and not torch.jit.is_tracing()
    return is_constant and not needs_gradient(*norm.parameters())


def _further(norm: nn.Module) -> list[nn.Module]:
    """Return what timm's norms do after the normalisation: dropout and activation."""
    return [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]


def _is_foldable(convolution: nn.Conv2d) -> bool:
    """Return whether it takes its weights as they are. Layers that standardise them override the forward pass."""
    has_own = type(convolution).forward is not nn.Conv2d.forward or "forward" in vars(convolution)
    return not has_own and not convolution._forward_hooks


def _is_foldable_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    if not isinstance(module, nn.BatchNorm2d):
        return False
    is_known = type(module) is nn.BatchNorm2d or len(_further(module)) == 2
    return is_known and module.track_running_stats


class _Pairs(TorchFunctionMode):
    """Records, while a network runs, which convolutions' outputs go to which norms, and to nothing else."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.outputs: dict[int, tuple[Tensor, nn.Conv2d]] = {}  # by identity; keeps them, so that none is used again
        self.uses: dict[int, int] = {}
        self.readers: dict[nn.Conv2d, set[nn.BatchNorm2d | None]] = {}  # None: anything but a norm
        self.sources: dict[nn.BatchNorm2d, set[nn.Conv2d | None]] = {}
        self.hooked = {module for module in modules if module._forward_hooks}  # these see outputs, too

    def __enter__(self) -> "_Pairs":
        self.hook = register_module_forward_hook(self._after)
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.hook.remove()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # not what only reads its size
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            for leaf in tree_leaves((args, dict(kwargs or {}))):
                if id(leaf) in self.outputs:
                    self.uses[id(leaf)] += 1
        return result

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d) and _is_foldable(module):
            self.outputs[id(output)] = output, module
            self.uses[id(output)] = 0
            self.readers.setdefault(module, set())
        elif _is_foldable_norm(module):
            source = self.outputs.get(id(inputs[0]), (None, None))[1]
            self.sources.setdefault(module, set()).add(source)
            if source is not None:
                self.readers[source].add(module)
        elif module in self.hooked and id(output) in self.outputs:
            self.readers[self.outputs[id(output)][1]].add(None)

    def end(self, result: Any) -> None:
        """Take the network's result, and count what was used otherwise than by one norm."""
        for leaf in tree_leaves(result):
            if id(leaf) in self.outputs:
                self.uses[id(leaf)] += 1
        for key, (_, convolution) in self.outputs.items():
            if self.uses[key] != 1:
                self.readers[convolution].add(None)

    def found(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        pairs = []
        for convolution, readers in self.readers.items():
            norm = next(iter(readers), None)
            if len(readers) == 1 and norm is not None and self.sources[norm] == {convolution}:
                pairs.append((convolution, norm))
        return pairs
