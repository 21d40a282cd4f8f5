"""Discriminative region suppression (DRS). Kim et al., AAAI 2021, arXiv 2103.07246.

Each channel is cut at a share of its own spatial maximum, so that attention spreads beyond the strongest region.
"""

import torch
from torch import Tensor, nn

from models.errors import ModelOptionError


class FixedSuppression(nn.Module):
    """min(x, control * spatial maximum of x), per channel. x (N, C, H, W) -> the same shape."""

    def __init__(self, control: float) -> None:
        super().__init__()
        self.control = control

    def extra_repr(self) -> str:
        return f"control={self.control}"

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(x, x.amax((2, 3), keepdim=True) * self.control)


class LearnableSuppression(nn.Module):
    """As FixedSuppression, with one control per channel: sigmoid of a linear map of the spatial means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, channels, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        control = self.fc(x.mean((2, 3)))[:, :, None, None]
        # under autocast the linear map is in lower precision than x may be
        return torch.minimum(x, (x.amax((2, 3), keepdim=True) * control).to(x.dtype))


def suppression_control(name: str) -> float | None:
    """The constant of "fixed:VALUE", None for "none" and "learnable". Raises ModelOptionError on anything else."""
    if name in ("none", "learnable"):
        return None
    kind, _, value = name.partition(":")
    try:
        control = float(value) if kind == "fixed" else float("nan")
    except ValueError:
        control = float("nan")
    if not 0 < control <= 1:
        raise ModelOptionError(
            "suppression",
            name,
            "expected none, learnable, or fixed:VALUE above 0 and at most 1, such as the published fixed:0.55",
        )
    return control


def build_suppression(name: str, channels: int) -> nn.Module:
    """The suppression called `name` ("none", "fixed:0.55", "learnable") for `channels` channels."""
    control = suppression_control(name)
    if control is not None:
        return FixedSuppression(control)
    return LearnableSuppression(channels) if name == "learnable" else nn.Identity()
