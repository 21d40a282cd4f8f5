"""Measures the work and memory of training batches without a device, by running the modules on fake tensors.

One pass measures batches of every size: its batch has IMAGES images, and what is a multiple of this number grows with
the batch.
"""

import copy
import math
import weakref
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from utils.runtime.device import AMP_TYPES
from utils.training.recompute import recompute_blocks
from utils.training.task import Task

GIVEN, TEMPORARY, SAVED, GRADIENT, ALL = "given", "temporary", "saved", "gradient", "all"
IMAGES = 10_007  # a prime number, which divides no size of a layer
CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward


def convolution_backward_flop(grad: Tensor, x: Tensor, weight: Tensor, *others: Any, out_val: Any = None) -> int:
    """Count the operations of a convolution's backward pass; torch overcounts grouped ones by the number of groups.

    others: the operator's further arguments. The fifth is whether it is transposed, the last which of the three
    gradients are needed.
    """
    outputs = x.numel() if others[4] else grad.numel()
    return 2 * outputs * math.prod(weight.shape[1:]) * (int(others[-1][0]) + int(others[-1][1]))


FLOP_COUNTS = {**flop_registry, CONVOLUTION_BACKWARD: convolution_backward_flop}


def batch_norm(x: Tensor, weight: Tensor | None, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty results of a batch norm. others: the operator's further arguments; the fourth is whether it trains.

    torch finds them by two dozen operations, which would take most of the time of a pass.
    """
    statistics = [torch.empty(x.shape[1] if others[3] else 0, device=x.device) for _ in range(2)]
    return torch.empty_like(x), statistics[0], statistics[1]


def batch_norm_backward(grad: Tensor, x: Tensor, weight: Tensor | None, *others: Any) -> tuple[Tensor | None, ...]:
    """Return empty gradients of a batch norm's input, weight and bias. others: the last is which of them are needed."""
    like = torch.empty(x.shape[1], device=x.device) if weight is None else weight
    return tuple(torch.empty_like(t) if needed else None for t, needed in zip((x, like, like), others[-1]))


RESULTS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.native_batch_norm.default: batch_norm,
    torch.ops.aten.native_batch_norm_backward.default: batch_norm_backward,
    torch.ops.aten.threshold_backward.default: lambda grad, *others: torch.empty_like(grad),  # of ReLU
    torch.ops.prim.device.default: lambda tensor: tensor.fake_device,
}
# random initialisation, which takes most of the time of building a large network
RANDOM_VALUES = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default}


class Amount(NamedTuple):
    """Bytes or operations of a batch: some whatever its size, and some for each image."""

    fixed: int
    per_image: int

    def at(self, images: int) -> int:
        return self.fixed + self.per_image * images


def amount(value: int) -> Amount:
    """Split a number of the pass into its parts."""
    per_image, rest = divmod(value, IMAGES)
    return Amount(value, 0) if rest else Amount(0, per_image)


@dataclass(frozen=True)
class BatchNeeds:
    """Floating point operations and bytes of the forward and backward passes of one batch.

    saved: activations stored for the backward pass of the part (see utils.training.task.Task) that stores most.
    workspace: peak of everything else except gradients. alive: peak of activations, gradients and workspace together.
    batch: the images.
    """

    parameters: int
    trainable: int
    flop_forward: int
    flop: int
    weights: int
    gradients: int
    saved: int
    workspace: int
    alive: int
    batch: int


@dataclass(frozen=True)
class Needs:
    """The needs of batches of all sizes, see BatchNeeds. A peak is the largest of its amounts."""

    parameters: int
    trainable: int
    flop_forward: Amount
    flop: Amount
    weights: int
    gradients: int
    saved: Collection[Amount]
    workspace: Collection[Amount]
    alive: Collection[Amount]
    batch: Amount

    def at(self, images: int) -> BatchNeeds:
        """Return the needs of a batch of this many images."""
        return BatchNeeds(
            parameters=self.parameters,
            trainable=self.trainable,
            flop_forward=self.flop_forward.at(images),
            flop=self.flop.at(images),
            weights=self.weights,
            gradients=self.gradients,
            saved=max(found.at(images) for found in self.saved),
            workspace=max(found.at(images) for found in self.workspace),
            alive=max(found.at(images) for found in self.alive),
            batch=self.batch.at(images),
        )


class Meter(TorchDispatchMode):
    """Counts floating point operations, and the bytes of all storages that operations allocate, by purpose.

    The sum of flop equals the count of torch's FlopCounterMode, in a fraction of its time. seen: the amounts of bytes
    that existed at a time, of temporary storages and of all.
    """

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.kinds = {tensor.untyped_storage()._cdata: GIVEN for tensor in given}
        self.flop = Amount(0, 0)
        self.live: defaultdict[str, Amount] = defaultdict(lambda: Amount(0, 0))
        self.seen: dict[str, set[Amount]] = {TEMPORARY: {Amount(0, 0)}, ALL: {Amount(0, 0)}}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = RESULTS.get(func, func)(*args, **kwargs)
        if count := FLOP_COUNTS.get(func._overloadpacket):
            self.flop = _sum(self.flop, amount(count(*args, **kwargs, out_val=result)))
        for tensor in (result,) if isinstance(result, Tensor) else tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        return result

    def mark(self, tensor: Tensor, kind: str) -> None:
        """Set the purpose of a tensor's storage, unless it belongs to a parameter or the batch."""
        storage = tensor.untyped_storage()
        old = self.kinds.get(storage._cdata)
        if old in (TEMPORARY, SAVED):
            self.kinds[storage._cdata] = kind
            size = amount(storage.nbytes())
            self._change(old, size, -1)
            self._change(kind, size, 1)

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.kinds:
            self.kinds[key] = TEMPORARY
            size = amount(storage.nbytes())
            self._change(TEMPORARY, size, 1)
            self._change(ALL, size, 1)
            weakref.finalize(storage, self._forget, key, size).atexit = False

    def _change(self, kind: str, size: Amount, sign: int) -> None:
        self.live[kind] = _sum(self.live[kind], size, sign)
        if kind in self.seen:
            self.seen[kind].add(self.live[kind])

    def _forget(self, key: int, size: Amount) -> None:
        self._change(self.kinds.pop(key), size, -1)
        self._change(ALL, size, -1)


def _sum(one: Amount, other: Amount, sign: int = 1) -> Amount:
    return Amount(one.fixed + sign * other.fixed, one.per_image + sign * other.per_image)


@contextmanager
def without_values() -> Iterator[None]:
    """Skip the random initialisation of networks built in the block, which saves most of the time."""

    class NoValues(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0] if func in RANDOM_VALUES else func(*args, **(kwargs or {}))

    with NoValues():
        yield


def measure(task: Task, *, amp: str, recompute: bool) -> Needs:
    """Run forward and backward pass of `task` on a fake batch. Takes about a second.

    recompute: with activation checkpointing. The task's network, its gradients and all random states are unchanged.
    """
    mode = FakeTensorMode()
    network = _without_values(task.network, mode)
    with torch.random.fork_rng(devices=[]), mode:
        if recompute:
            recompute_blocks(network)
        task.fold_norms(network)
        batch = task.example(IMAGES)
        parameters = list(network.parameters())
        given = [*parameters, *network.buffers(), *batch.values()]
        meter = Meter(given)
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p: meter.mark(p.grad, GRADIENT))
        flop_forward, saved = _pass(task, network, dict(batch), amp, meter)
    trainable = [p for p in parameters if p.requires_grad]
    return Needs(
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in trainable),
        flop_forward=flop_forward,
        flop=meter.flop,
        weights=_size([*parameters, *network.buffers()]),
        gradients=_size(trainable),
        saved=frozenset(saved),
        workspace=frozenset(meter.seen[TEMPORARY]),
        alive=frozenset(meter.seen[ALL]),
        batch=amount(_size(batch.values())),
    )


def _pass(
    task: Task, network: nn.Module, batch: dict[str, Tensor], amp: str, meter: Meter
) -> tuple[Amount, list[Amount]]:
    """Run all passes. Returns the operations of the forward ones, and the bytes stored after each of them."""
    flop_forward, saved = Amount(0, 0), []

    def pack(tensor: Tensor) -> Tensor:
        meter.mark(tensor, SAVED)
        return tensor

    with meter:
        for part in task.parts:
            before = meter.flop
            # not utils.runtime.device.autocast, which replaces some convolutions on a CPU
            mixed = torch.autocast("cpu", dtype=AMP_TYPES.get(amp), enabled=amp != "off")
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), mixed:
                output = task.losses(network, batch, part)
                total = output.total()
            flop_forward = _sum(flop_forward, _sum(meter.flop, before, -1))
            saved.append(meter.live[SAVED])
            total.backward()
            batch |= output.passed
    return flop_forward, saved


def _without_values(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Return a copy of the network with fake tensors, in training mode."""
    with mode:
        fake: dict[int, Any] = {id(p): nn.Parameter(_empty(p), p.requires_grad) for p in network.parameters()}
        fake |= {id(buffer): _empty(buffer) for buffer in network.buffers()}
    return copy.deepcopy(network, fake).train()


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _size(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
