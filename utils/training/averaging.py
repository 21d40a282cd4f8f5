"""Exponential moving average of a network's weights, which replaces them in checkpoints if enabled."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of every parameter and buffer of `network`, in their own types.

    The decay at a step is min(decay, (step + 1) / (step + 10)), so that the first steps have little weight, as in timm.
    Integers, such as step counts, are not averaged. torch's AveragedModel is not used because it keeps a second
    network, whose state would need names of its own.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network, self.decay = network, decay
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the network's weights after `step`, counted from 0."""
        share = 1 - min(self.decay, (step + 1) / (step + 10))
        state = self.network.state_dict()
        floating = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.values[name] for name in floating], [state[name] for name in floating], share)
        for name in state.keys() - set(floating):
            self.values[name].copy_(state[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Swap the average into the network within the block, and its own weights back afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def restore(self, live: Mapping[str, Tensor]) -> None:
        """Use the network's current weights as the average, and load `live` into the network."""
        for name, value in self.network.state_dict().items():
            self.values[name].copy_(value)
        self.network.load_state_dict(live)

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self.network.state_dict().items():
            own = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(own)
