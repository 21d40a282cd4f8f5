"""The moving average of a network's weights, which is what is tested and stored where it is asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of every parameter and buffer of `network`, in their own types.

    A step keeps min(decay, (step + 1) / (step + 10)) of the average: the first steps count little, as in timm.
    Numbers of steps and other integers are the network's own. torch's AveragedModel holds a second network, whose
    state would have to be stored under names of its own.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network, self.decay = network, decay
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the network as it is after `step`, counted from 0."""
        share = 1 - min(self.decay, (step + 1) / (step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, share)
            else:
                self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts the network holds the average; then its own weights again."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def restore(self, live: Mapping[str, Tensor]) -> None:
        """Takes what the network holds for the average, and gives the network its own weights."""
        for name, value in self.network.state_dict().items():
            self.values[name].copy_(value)
        self.network.load_state_dict(live)

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self.network.state_dict().items():
            own = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(own)
