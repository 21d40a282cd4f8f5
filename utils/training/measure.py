"""Measures the work and memory of one training batch without a device, by running the modules on fake tensors."""

import copy
import math
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from utils.runtime.device import AMP_TYPES
from utils.training.recompute import recompute_blocks
from utils.training.task import Task

GIVEN, TEMPORARY, SAVED, GRADIENT = "given", "temporary", "saved", "gradient"
CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward


def convolution_backward_flop(grad: Tensor, x: Tensor, weight: Tensor, *others: Any, out_val: Any = None) -> int:
    """Count the operations of a convolution's backward pass; torch overcounts grouped ones by the number of groups.

    others: the operator's further arguments. The fifth is whether it is transposed, the last which of the three
    gradients are needed.
    """
    outputs = x.numel() if others[4] else grad.numel()
    return 2 * outputs * math.prod(weight.shape[1:]) * (int(others[-1][0]) + int(others[-1][1]))


FLOP_COUNTS = {**flop_registry, CONVOLUTION_BACKWARD: convolution_backward_flop}
# random initialisation, which takes most of the time of building a large network
RANDOM_VALUES = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default}


@dataclass(frozen=True)
class BatchNeeds:
    """Floating point operations and bytes of the forward and backward pass of one batch.

    saved: activations stored for the backward pass. workspace: peak of everything else except gradients. alive: peak of
    activations, gradients and workspace together. batch: the images.
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


class Meter(TorchDispatchMode):
    """Counts floating point operations, and the bytes of all storages that operations allocate, by purpose.

    flop equals the count of torch's FlopCounterMode, in a fraction of its time.
    """

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.kinds = {tensor.untyped_storage()._cdata: GIVEN for tensor in given}
        self.flop = 0
        self.live: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if count := FLOP_COUNTS.get(func._overloadpacket):
            self.flop += count(*args, **kwargs, out_val=result)
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
            self.live[old] -= storage.nbytes()
            self._add(kind, storage.nbytes())

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.kinds:
            self.kinds[key] = TEMPORARY
            self._add(TEMPORARY, size)
            weakref.finalize(storage, self._forget, key, size).atexit = False

    def _add(self, kind: str, size: int) -> None:
        self.live[kind] += size
        self.most[kind] = max(self.most[kind], self.live[kind])
        self.most["all"] = max(self.most["all"], self.live.total())

    def _forget(self, key: int, size: int) -> None:
        self.live[self.kinds.pop(key)] -= size


@contextmanager
def without_values() -> Iterator[None]:
    """Skip the random initialisation of networks built in the block, which saves most of the time."""

    class NoValues(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0] if func in RANDOM_VALUES else func(*args, **(kwargs or {}))

    with NoValues():
        yield


def measure_batch(task: Task, *, batch_size: int, amp: str, recompute: bool) -> BatchNeeds:
    """Run forward and backward pass of `task` on a fake batch of this size. Takes about a second.

    recompute: with activation checkpointing. The task's network, its gradients and all random states are unchanged.
    """
    mode = FakeTensorMode()
    network = _without_values(task.network, mode)
    with torch.random.fork_rng(devices=[]), mode:
        if recompute:
            recompute_blocks(network)
        batch = task.example(batch_size)
        parameters = list(network.parameters())
        given = [*parameters, *network.buffers(), *batch.values()]
        meter = Meter(given)
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p: meter.mark(p.grad, GRADIENT))
        flop_forward, flop, saved = _pass(task, network, batch, amp, meter)
    trainable = [p for p in parameters if p.requires_grad]
    return BatchNeeds(
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in trainable),
        flop_forward=flop_forward,
        flop=flop,
        weights=_size([*parameters, *network.buffers()]),
        gradients=_size(trainable),
        saved=saved,
        workspace=meter.most[TEMPORARY],
        alive=meter.most["all"],
        batch=_size(batch.values()),
    )


def _pass(task: Task, network: nn.Module, batch: Mapping[str, Tensor], amp: str, meter: Meter) -> tuple[int, int, int]:
    """Return the operations of the forward pass and of both passes, and the bytes stored between them."""

    def pack(tensor: Tensor) -> Tensor:
        meter.mark(tensor, SAVED)
        return tensor

    with meter:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            # not utils.runtime.device.autocast, which replaces some convolutions on a CPU
            with torch.autocast("cpu", dtype=AMP_TYPES.get(amp), enabled=amp != "off"):
                loss = task.losses(network, dict(batch)).total()
            flop_forward, saved = meter.flop, meter.live[SAVED]
        loss.backward()
    return flop_forward, meter.flop, saved


def _without_values(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Return a copy of the network with fake tensors, in training mode."""
    with FakeCopyMode(mode):
        result = copy.deepcopy(network)
    for copied, own in zip(result.parameters(), network.parameters(), strict=True):
        copied.requires_grad_(own.requires_grad)
    return result.train()


def _size(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
