"""The Task that each training program passes to the engine."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from utils.training.loading import Batch, Samples

WHOLE = "whole"  # the only part of a task that has no others


class Losses(NamedTuple):
    """Named scalars of a part of one batch: losses, whose sum is minimised, and values, which are only recorded.

    passed: tensors without gradients that are added to the batch for the next parts.
    """

    losses: dict[str, Tensor]
    values: Mapping[str, Tensor] = MappingProxyType({})
    passed: Mapping[str, Tensor] = MappingProxyType({})

    def total(self) -> Tensor:
        return reduce(torch.add, self.losses.values())


class Task(Protocol):
    """A network, its samples and its losses. Programs implement it without subclassing."""

    @property
    def network(self) -> nn.Module:
        """The network to train. Its forward pass takes a batch."""

    @property
    def samples(self) -> Samples:
        """The dataset to draw samples from."""

    def example(self, count: int) -> Batch:
        """Return a dummy batch of `count` samples with the shapes and types of real ones."""

    @property
    def parts(self) -> Sequence[str]:
        """Parts of the losses between which no gradients pass, so each needs only its own activations. Often WHOLE."""

    def losses(self, network: nn.Module, batch: Batch, part: str) -> Losses:
        """Compute the losses of a part. network: self.network, or its wrapper that averages gradients over processes.

        The parts of a batch are computed in turn, each with what the earlier ones passed, after their backward passes.
        """

    def fold_norms(self, network: nn.Module) -> None:
        """Let self.network, or a copy of it, compute fixed batch norms in less time and memory: models.folding."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Put every trainable parameter into one group. A group's learning rate is its "base_lr" times the factor."""

    def checkpoint(self) -> dict[str, Any]:
        """Return the networks' state dicts by their published keys."""

    def restore(self, state: Mapping[str, Any], *, path: Path) -> None:
        """Load the result of `checkpoint`, read from `path`. Raises UserError if it does not fit."""

    def end_of_interval(self, recent: Mapping[str, float]) -> str | None:
        """Return a warning if the means of the recent steps call for one."""
