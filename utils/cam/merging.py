"""Merges the raw maps of all scales into CAMs, for labels and for random walks.

Raw maps are the network's outputs (C + 1, h, w), background last. Each scale has two: of the image and of its mirror
image (not flipped back), in the order plain, mirrored, plain, mirrored, …
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["relu", "softmax"]

EXPORT_EPS = 1e-5  # as in the CAM scripts of IRN and AffinityNet

ZERO = 1e-8  # a map below this everywhere is of an undetected class: it is not scaled up to 1


def merge_scales(
    maps: Sequence[Tensor], size: Sequence[int], *, keys: Sequence[int] | None = None, activation: Activation = "relu"
) -> Tensor:
    """Merge raw maps into CAMs of the image's size: bicubic resize, mean, ReLU, division by each class's maximum.

    maps: raw maps (see above). size: (H, W) in pixels. keys: zero-based classes, default all. activation: "softmax"
    first applies a softmax over background and `keys` to each map. Returns (K, H, W) float32 in 0..1. L2G (Jiang et
    al., CVPR 2022).
    """
    height, width = (int(v) for v in size)
    pairs = _class_maps(maps, keys, activation)
    merged = pairs[0].new_zeros(pairs[0].shape[1], height, width)
    for pair in pairs:
        # resizing is linear and commutes with mirroring, so the mean of the small maps is resized once
        merged += _resized(pair.mean(0), (height, width), "bicubic")
    merged = (merged / len(pairs)).relu_()
    return merged / _maximum(merged).clamp(min=ZERO)


def strided_cam(
    maps: Sequence[Tensor],
    size: Sequence[int],
    *,
    keys: Sequence[int],
    activation: Activation = "relu",
    stride: int = 4,
) -> Tensor:
    """Merge raw maps for random walks: ReLU, sum of the mirrored pair, bilinear resize to `stride`, sum of the scales.

    Returns (K, (H - 1) // stride + 1, (W - 1) // stride + 1) float32, divided by each class's maximum. IRN (CVPR 2019).
    """
    target = tuple((int(v) - 1) // stride + 1 for v in size)
    summed = _summed(_class_maps(maps, keys, activation), target)
    return summed / (_maximum(summed) + EXPORT_EPS)


def high_res_cam(
    maps: Sequence[Tensor], size: Sequence[int], *, keys: Sequence[int], activation: Activation = "relu"
) -> Tensor:
    """Like strided_cam, but resize to the next multiples of 16 and crop to the image. -> (K, H, W) float32 in 0..1."""
    height, width = (int(v) for v in size)
    target = tuple((v - 1) // 16 * 16 + 16 for v in (height, width))
    summed = _summed(_class_maps(maps, keys, activation), target)[:, :height, :width]
    return summed / (_maximum(summed) + EXPORT_EPS)


def _class_maps(maps: Sequence[Tensor], keys: Sequence[int] | None, activation: Activation) -> list[Tensor]:
    """Return the classes `keys` as (2, K, h, w) per scale: plain, and mirrored flipped back."""
    if not maps or len(maps) % 2:
        raise ValueError(f"{len(maps)} maps: expected two per scale, plain and mirrored")
    pairs = []
    for plain, mirrored in zip(maps[0::2], maps[1::2], strict=True):
        plain, mirrored = (torch.as_tensor(m) for m in (plain, mirrored))
        pair = torch.stack([plain.reshape(plain.shape[-3:]), mirrored.reshape(mirrored.shape[-3:]).flip(-1)])
        wanted = list(range(pair.shape[1] - 1)) if keys is None else [int(k) for k in keys]
        if any(not 0 <= key < pair.shape[1] - 1 for key in wanted):
            raise ValueError(f"keys {wanted}: expected zero-based classes, the maps have {pair.shape[1] - 1}")
        if activation == "softmax":
            pairs.append(pair[:, [*wanted, -1]].float().softmax(dim=1)[:, :-1])
        else:
            pairs.append(pair[:, wanted].float())
    return pairs


def _summed(pairs: Sequence[Tensor], target: tuple[int, ...]) -> Tensor:
    """ReLU, sum of the mirrored pair, bilinear resize to target (h, w), sum of the scales. -> (K, h, w)."""
    summed = pairs[0].new_zeros(pairs[0].shape[1], *target)
    for pair in pairs:
        summed += _resized(pair.relu().sum(0), target, "bilinear")
    return summed


def _resized(maps: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """Resize (K, h, w) to (K, *size). K may be 0, which F.interpolate does not accept."""
    if len(maps) == 0:
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[None], size, mode=mode, align_corners=False)[0]


def _maximum(cams: Tensor) -> Tensor:
    """Return each class's maximum, (K, 1, 1). K may be 0."""
    return cams.amax(dim=(1, 2), keepdim=True)
