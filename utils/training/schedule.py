"""Factors on the learning rate, as pure functions of the step."""

from bisect import bisect_right
from collections.abc import Sequence


def poly(step: int, total: int, *, power: float, every: int = 1) -> float:
    """Factor on the base rate after `step` of `total` steps: (1 - step / total) ** power, renewed each `every`."""
    step = step // every * every
    return max(0.0, 1.0 - step / total) ** power


def step_decay(step: int, decay_steps: Sequence[int], *, factor: float) -> float:
    """Factor on the base rate at `step`: `factor` for each decay step that has come."""
    return factor ** bisect_right(sorted(decay_steps), step)


def warm_up(step: int, steps: int, *, start: float) -> float:
    """Factor that rises linearly from `start` to 1 over the first `steps` steps."""
    return 1.0 if step >= steps else start + (1.0 - start) * step / steps
