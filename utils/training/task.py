"""What differs between trainings: the Task that each program gives to the engine."""

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from utils.training.loading import Batch, Samples


class Losses(NamedTuple):
    """Named scalars of one batch: losses, whose sum is minimised, and values, which are only recorded."""

    losses: dict[str, Tensor]
    values: dict[str, Tensor]

    def total(self) -> Tensor:
        return reduce(torch.add, self.losses.values())


class Task(Protocol):
    """A network, its samples and its losses; a program's own class, which need not derive from this one."""

    @property
    def network(self) -> nn.Module:
        """What is trained; its forward pass takes a batch."""

    @property
    def samples(self) -> Samples:
        """What is drawn from."""

    def example(self, count: int) -> Batch:
        """A batch of `count` samples in the shapes and types of true ones; its values mean nothing."""

    def losses(self, network: nn.Module, batch: Batch) -> Losses:
        """Runs `network`: self.network, or its wrapper that averages gradients over processes."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Every trainable parameter in one group; a group's learning rate is its "base_lr" times the factor."""

    def checkpoint(self) -> dict[str, Any]:
        """The networks' state dicts under their published names."""

    def restore(self, state: Mapping[str, Any], *, path: Path) -> None:
        """Fills the networks from what `checkpoint` returned, read from `path`. Raises UserError if it does not fit."""

    def end_of_interval(self, recent: Mapping[str, float]) -> str | None:
        """A warning, where the means of the recent steps call for one."""
