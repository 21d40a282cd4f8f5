"""Seeds derived from integers, and temporary seeding."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(*parts: int) -> int:
    """Derive one seed from several integers, e.g. (seed, epoch, index)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint32)[0])


@contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Seed the CPU's global generator, which transforms use, within the block, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the GPU's generator, which dropout uses
        torch.default_generator.manual_seed(derived_seed(*parts))
        yield
