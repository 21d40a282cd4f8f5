"""Discriminative region suppression (DRS). Kim et al., AAAI 2021, arXiv 2103.07246.

Each channel is clipped at a fraction of its spatial maximum, which spreads attention beyond the strongest region.
"""

import torch
from torch import Tensor, nn

from models.errors import ModelOptionError
from models.pooling import spatial_mean


class FixedSuppression(nn.Module):
    """min(x, control * spatial maximum of x) per channel. x (N, C, H, W) -> same shape."""

    def __init__(self, control: float) -> None:
        super().__init__()
        self.control = control

    def extra_repr(self) -> str:
        return f"control={self.control}"

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(x, x.amax((2, 3), keepdim=True) * self.control)


class LearnableSuppression(nn.Module):
    """Like FixedSuppression with one control per channel: sigmoid of a linear layer on the spatial means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, channels, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        control = self.fc(spatial_mean(x))[:, :, None, None]
        # under autocast the linear layer's output may have lower precision than x
        return torch.minimum(x, (x.amax((2, 3), keepdim=True) * control).to(x.dtype))


def suppression_control(name: str) -> float | None:
    """Return VALUE of "fixed:VALUE", or None for "none" and "learnable". Raises ModelOptionError otherwise."""
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
            "expected none, learnable, or fixed:VALUE with 0 < VALUE <= 1, such as the published fixed:0.55",
        )
    return control


def build_suppression(name: str, channels: int) -> nn.Module:
    """Build the suppression module `name` ("none", "fixed:0.55", "learnable") for `channels` channels."""
    control = suppression_control(name)
    if control is not None:
        return FixedSuppression(control)
    return LearnableSuppression(channels) if name == "learnable" else nn.Identity()
