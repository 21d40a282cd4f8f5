"""Class activation maps after the network: merging scales, labels, the artefact on disk, random-walk exports.

Raw maps are what the network gives: (C + 1, h, w), background last, per scale one of the image and one of its mirror
image (as the network saw it, so still mirrored): plain, mirrored, plain, mirrored, …
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["relu", "softmax"]

EXPORT_EPS = 1e-5  # of IRN's and AffinityNet's own CAM scripts

ZERO = 1e-8  # a map that stays below is of a class seen nowhere: it is left at zero, not blown up to one


def merge_scales(
    maps: Sequence[Tensor], size: Sequence[int], *, keys: Sequence[int] | None = None, activation: Activation = "relu"
) -> Tensor:
    """CAMs at the image's size from the raw maps of all scales: bicubic, mean, relu, divided by the maximum per class.

    maps: raw maps (see above); size: (H, W) in pixels; keys: zero-based classes that are wanted, default all of them.
    activation `softmax` takes each map's softmax over background and `keys` first. -> (K, H, W) float32 in 0..1.
    L2G (Jiang et al., CVPR 2022).
    """
    height, width = (int(v) for v in size)
    pairs = _class_maps(maps, keys, activation)
    merged = pairs[0].new_zeros(pairs[0].shape[1], height, width)
    for pair in pairs:
        # resizing is linear and mirrors with its input: the mean of the small maps is resized once instead of twice
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
    """The random walk's CAM: relu, mirrored pair added, bilinear to every `stride`-th pixel, summed over the scales.

    -> (K, (H - 1) // stride + 1, (W - 1) // stride + 1) float32, divided by its maximum per class. IRN (CVPR 2019).
    """
    target = tuple((int(v) - 1) // stride + 1 for v in size)
    summed = _summed(_class_maps(maps, keys, activation), target)
    return summed / (_maximum(summed) + EXPORT_EPS)


def high_res_cam(
    maps: Sequence[Tensor], size: Sequence[int], *, keys: Sequence[int], activation: Activation = "relu"
) -> Tensor:
    """As strided_cam, but bilinear to the next multiples of 16, cut to the image. -> (K, H, W) float32 in 0..1."""
    height, width = (int(v) for v in size)
    target = tuple((v - 1) // 16 * 16 + 16 for v in (height, width))
    summed = _summed(_class_maps(maps, keys, activation), target)[:, :height, :width]
    return summed / (_maximum(summed) + EXPORT_EPS)


def _class_maps(maps: Sequence[Tensor], keys: Sequence[int] | None, activation: Activation) -> list[Tensor]:
    """The wanted classes, (2, K, h, w) a scale: plain, and mirrored turned back."""
    if not maps or len(maps) % 2:
        raise ValueError(f"{len(maps)} maps: every scale has two, plain and mirrored in turn")
    pairs = []
    for plain, mirrored in zip(maps[0::2], maps[1::2], strict=True):
        plain, mirrored = (torch.as_tensor(m) for m in (plain, mirrored))
        pair = torch.stack([plain.reshape(plain.shape[-3:]), mirrored.reshape(mirrored.shape[-3:]).flip(-1)])
        wanted = list(range(pair.shape[1] - 1)) if keys is None else [int(k) for k in keys]
        if any(not 0 <= key < pair.shape[1] - 1 for key in wanted):
            raise ValueError(f"keys {wanted} are zero-based classes, but the maps have {pair.shape[1] - 1}")
        if activation == "softmax":
            pairs.append(pair[:, [*wanted, -1]].float().softmax(dim=1)[:, :-1])
        else:
            pairs.append(pair[:, wanted].float())
    return pairs


def _summed(pairs: Sequence[Tensor], target: tuple[int, ...]) -> Tensor:
    """Relu, mirrored pair added, bilinear to target (h, w), summed over the scales. -> (K, h, w)."""
    summed = pairs[0].new_zeros(pairs[0].shape[1], *target)
    for pair in pairs:
        summed += _resized(pair.relu().sum(0), target, "bilinear")
    return summed


def _resized(maps: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """(K, h, w) -> (K, *size); K may be 0, which interpolate refuses."""
    if len(maps) == 0:
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[None], size, mode=mode, align_corners=False)[0]


def _maximum(cams: Tensor) -> Tensor:
    """Per class, (K, 1, 1); K may be 0."""
    return cams.amax(dim=(1, 2), keepdim=True)
