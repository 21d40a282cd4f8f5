"""Seeds that follow from whole numbers, and randomness that lasts for a block."""

import numpy as np


def derived_seed(*parts: int) -> int:
    """One seed that follows from several whole numbers, e.g. (seed, epoch, index)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint32)[0])
