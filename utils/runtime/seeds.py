"""Seeds that follow from whole numbers, and randomness that lasts for a block."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(*parts: int) -> int:
    """One seed that follows from several whole numbers, e.g. (seed, epoch, index)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint32)[0])


@contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Seeds the CPU's global generator, which transforms draw from, for the block, and then restores its state."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the GPU's generator, which dropout draws from
        torch.default_generator.manual_seed(derived_seed(*parts))
        yield
