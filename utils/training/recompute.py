"""Activation checkpointing: activations of blocks are recomputed in the backward pass instead of stored."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from utils.runtime.fast_convolutions import FastConvolutions

# a module with fewer convolutions stores hardly more than its input
CONVOLUTIONS = 2
# the layers by which timm names the parts of a transformer's block
TRANSFORMER_BLOCK = frozenset({"attn", "mlp"})


def recompute_blocks(network: nn.Module) -> int:
    """Make the blocks of `network` store only their input during training. Returns the number of blocks.

    A block is a transformer's, or an innermost module with two or more convolutions. Names of weights and gradients do
    not change, and statistics of batch norms are updated once. Blocks whose inner modules have forward hooks (taps of
    feature maps) are skipped.
    """
    found = list(blocks_of(network))
    for block in found:
        block.forward = partial(_recomputed, block, type(block).forward)  # type: ignore[method-assign]
    return len(found)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """Yield a transformer's blocks, and the modules with two or more convolutions that contain no other such module."""
    if {name for name, _ in module.named_children()} >= TRANSFORMER_BLOCK:
        yield module
        return
    inner = [block for child in module.children() for block in blocks_of(child)]
    if inner:
        yield from inner
        return
    parts = list(module.modules())[1:]
    is_tapped = any(part._forward_hooks for part in parts)
    if sum(isinstance(part, nn.Conv2d) for part in parts) >= CONVOLUTIONS and not is_tapped:
        yield module


def _recomputed(block: nn.Module, forward: Any, *inputs: Any, **named: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(block, *inputs, **named)
    return checkpoint(
        partial(forward, block, **named),
        *inputs,
        use_reentrant=False,
        preserve_rng_state=any(isinstance(part, _DropoutNd) and part.p > 0 for part in block.modules()),
        context_fn=partial(_contexts, block),
    )


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _as_before(block, is_fast=FastConvolutions.active > 0)


@contextmanager
def _as_before(block: nn.Module, *, is_fast: bool) -> Iterator[None]:
    """Recompute with the same kernels as the first time, and keep the statistics of batch norms.

    They update copies of their statistics, so that each batch counts once.
    """
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    own = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, own):
        norm._buffers.update({name: None if value is None else value.clone() for name, value in buffers.items()})
    try:
        with FastConvolutions() if is_fast else nullcontext():
            yield
    finally:
        for norm, buffers in zip(norms, own):
            norm._buffers.update(buffers)
