"""Attention modules by name. Each maps (N, C, H, W) to the same shape, for any C >= 1 and any map size.

Parameter names and shapes match the published checkpoints and must not change.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import ModelOptionError
from models.pooling import spatial_mean


def _reduced(channels: int, rate: int) -> int:
    """Return `channels` // `rate`, at least 1 so that narrow networks work."""
    return max(1, channels // rate)


class SE(nn.Module):
    """Squeeze and excitation. Hu et al., CVPR 2018."""

    def __init__(self, channels: int, rate: int = 16) -> None:
        super().__init__()
        hidden = _reduced(channels, rate)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(spatial_mean(x))[:, :, None, None]


class SA(nn.Module):
    """Spatial gate from one 1x1 convolution (the spatial part of scSE). Roy et al., MICCAI 2018."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).sigmoid()


class ChannelAttention(nn.Module):
    """Channel attention module (CAM) of DANet. Fu et al., CVPR 2019."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        energy = flat @ flat.transpose(1, 2)
        # softmax(max - energy) as published: favours the channels that differ most
        weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1).to(flat.dtype)
        return x + self.gamma * (weights @ flat).view_as(x)


class PositionAttention(nn.Module):
    """Position attention module (PAM) of DANet. Fu et al., CVPR 2019."""

    def __init__(self, channels: int, rate: int = 8) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, _reduced(channels, rate), 1)
        self.key_conv = nn.Conv2d(channels, _reduced(channels, rate), 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            conv(x).flatten(2).transpose(1, 2) for conv in (self.query_conv, self.key_conv, self.value_conv)
        )
        # fused kernels never materialise the (HW, HW) matrix; DANet does not scale the dot products
        moved = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.gamma * moved.transpose(1, 2).reshape(x.shape)


class ECA(nn.Module):
    """Efficient channel attention, kernel 3. Wang et al., CVPR 2020."""

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv(spatial_mean(x)[:, None]).sigmoid()
        return x * gate[:, 0, :, None, None]


class CoordinateAttention(nn.Module):
    """Coordinate attention. Hou et al., CVPR 2021. The published network never applies its `bn`, nor does this one."""

    def __init__(self, channels: int, rate: int = 16) -> None:
        super().__init__()
        hidden = _reduced(channels, rate)
        self.conv_1x1 = nn.Conv2d(channels, hidden, 1, bias=False)
        # unused, and therefore without gradients; kept so that published checkpoints load
        self.bn = nn.BatchNorm2d(hidden).requires_grad_(False)
        self.F_h = nn.Conv2d(hidden, channels, 1, bias=False)
        self.F_w = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True).transpose(2, 3), x.mean(2, keepdim=True)
        mixed = self.conv_1x1(torch.cat([rows, columns], 3)).relu()
        rows, columns = mixed.split([height, width], 3)
        return x * self.F_h(rows.transpose(2, 3)).sigmoid() * self.F_w(columns).sigmoid()


class SimAM(nn.Module):
    """Parameter-free attention by neuron energy, lambda 1e-4. Yang et al., ICML 2021."""

    def __init__(self, channels: int, weight_decay: float = 1e-4) -> None:
        super().__init__()
        self.weight_decay = weight_decay

    def forward(self, x: Tensor) -> Tensor:
        others = max(1, x.shape[2] * x.shape[3] - 1)
        squared = (x - x.mean((2, 3), keepdim=True)).square()
        variance = squared.sum((2, 3), keepdim=True) / others
        return x * (squared / (4 * (variance + self.weight_decay)) + 0.5).sigmoid()


class NAM(nn.Module):
    """Normalisation-based attention, channel part. Liu et al., arXiv 2111.12419."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.bn2.weight.abs()
        return x * (self.bn2(x) * (scale / scale.sum())[:, None, None]).sigmoid()


class GAM(nn.Module):
    """Global attention mechanism, rate 4. Liu et al., arXiv 2112.05561."""

    def __init__(self, channels: int, rate: int = 4) -> None:
        super().__init__()
        hidden = _reduced(channels, rate)
        self.channel_attention = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.spatial_attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 7, padding=3),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        # no sigmoid on the channel gate, as published
        x = x * self.channel_attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x * self.spatial_attention(x).sigmoid()


class PSAChannel(nn.Module):
    """Channel branch of polarised self-attention. Liu et al., arXiv 2107.00782."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = _reduced(channels, 2)
        self.ch_wv = nn.Conv2d(channels, half, 1)
        self.ch_wq = nn.Conv2d(channels, 1, 1)
        self.ch_wz = nn.Conv2d(half, channels, 1)
        self.ln = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        query = self.ch_wq(x).flatten(2).softmax(-1)
        value = self.ch_wv(x).flatten(2)
        pooled = value @ query.transpose(1, 2).to(value.dtype)
        gate = self.ln(self.ch_wz(pooled[..., None]).flatten(1)).sigmoid()
        return x * gate[:, :, None, None]


class PSASpatial(nn.Module):
    """Spatial branch of polarised self-attention, without softmax as in L2G's code. Liu et al., arXiv 2107.00782."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = _reduced(channels, 2)
        self.sp_wv = nn.Conv2d(channels, half, 1)
        self.sp_wq = nn.Conv2d(channels, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        query = spatial_mean(self.sp_wq(x))
        value = self.sp_wv(x)
        gate = (value * query[:, :, None, None]).sum(1, keepdim=True)
        return x * gate.sigmoid()


ATTENTION: dict[str, type[nn.Module]] = {
    "se": SE,
    "sa": SA,
    "cam": ChannelAttention,
    "pam": PositionAttention,
    "eca": ECA,
    "ca": CoordinateAttention,
    "simam": SimAM,
    "nam": NAM,
    "gam": GAM,
    "psa_channel": PSAChannel,
    "psa_spatial": PSASpatial,
}


def attention_names(spec: str) -> tuple[str, ...]:
    """Split `spec` into module names: "none" -> (), "se+sa" -> ("se", "sa"). Raises ModelOptionError if unknown."""
    if spec == "none":
        return ()
    names = tuple(part.strip() for part in spec.split("+"))
    unknown = [name for name in names if name not in ATTENTION]
    if unknown:
        raise ModelOptionError(
            "attention",
            spec,
            f"unknown module {unknown[0]!r}: expected none, or one or more of {', '.join(ATTENTION)} joined by '+'",
        )
    if len(set(names)) < len(names):
        raise ModelOptionError("attention", spec, "the same module is named twice")
    return names


def add_attention(owner: nn.Module, spec: str, channels: int) -> tuple[str, ...]:
    """Add one child `<name>_layer` to `owner` for each module in `spec`. Returns the children's names."""
    names = attention_names(spec)
    for name in names:
        owner.add_module(f"{name}_layer", ATTENTION[name](channels))
    return tuple(f"{name}_layer" for name in names)


def attend(owner: nn.Module, layers: Iterable[str], x: Tensor) -> Tensor:
    """Sum the outputs of the children `layers` of `owner` on x (N, C, H, W). Returns x if `layers` is empty."""
    outputs = [owner.get_submodule(layer)(x) for layer in layers]
    return sum(outputs[1:], outputs[0]) if outputs else x


class AttentionSum(nn.Module):
    """Sum of several attention modules on the same input. (N, C, H, W) -> same shape."""

    def __init__(self, spec: str, channels: int) -> None:
        super().__init__()
        self.layers = add_attention(self, spec, channels)

    def forward(self, x: Tensor) -> Tensor:
        return attend(self, self.layers, x)


def build_attention(name: str, channels: int) -> nn.Module:
    """Build the attention module `name` for `channels` channels: "none", one name, or a sum such as "se+sa"."""
    names = attention_names(name)
    if not names:
        return nn.Identity()
    return ATTENTION[names[0]](channels) if len(names) == 1 else AttentionSum(name, channels)
