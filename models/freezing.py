"""Frozen layers: the first stages of a backbone, or all of it."""

from typing import Literal

import torch
from torch import Tensor

from models.errors import ModelOptionError

FrozenStages = int | Literal["backbone"]


def needs_gradient(*tensors: Tensor) -> bool:
    """Return whether a result of the tensors, computed now, needs the gradient of one of them."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def check_stages(stages: int, last: int, name: str, *, what: str = "stages") -> None:
    """Raise ModelOptionError unless a backbone with `last` stages has the first `stages` of them."""
    if not 0 <= stages <= last:
        raise ModelOptionError(
            "frozen_stages", stages, f"expected 0 (none) to {last}, the {what} of {name}, or backbone"
        )
