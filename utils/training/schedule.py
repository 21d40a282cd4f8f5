"""Learning rate factors as pure functions of the step."""

from bisect import bisect_right
from collections.abc import Sequence


def poly(step: int, total: int, *, power: float, every: int = 1) -> float:
    """Return (1 - step / total) ** power, updated every `every` steps."""
    step = step // every * every
    return max(0.0, 1.0 - step / total) ** power


def step_decay(step: int, decay_steps: Sequence[int], *, factor: float) -> float:
    """Return `factor` to the power of the number of decay steps up to `step`."""
    return factor ** bisect_right(sorted(decay_steps), step)


def warm_up(step: int, steps: int, *, start: float) -> float:
    """Return a factor that rises linearly from `start` to 1 over the first `steps` steps."""
    return 1.0 if step >= steps else start + (1.0 - start) * step / steps
