"""Losses over labelled pixels. None of them is NaN where nothing, or only one side, is labelled."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.data.catalog import IGNORE_INDEX

BACKGROUND = 0
MeanOver = Literal["labelled", "all"]
KINDS = ("cross_entropy", "focal", "balanced")


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """labels (N, H, W) -> (N, h, w) for size (h, w): the label under the middle of each new pixel.

    That is Pillow's nearest resampling, which the published trainer uses; other nearest methods shift the labels.
    """
    for dim, new in zip((1, 2), size, strict=True):
        old = labels.shape[dim]
        if old != new:
            # floor((i + 1/2) * old / new) in integers, so that no rounding moves a pixel
            middles = (2 * torch.arange(new, device=labels.device) + 1) * old // (2 * new)
            labels = labels.index_select(dim, middles)
    return labels


def pixel_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (N, L, h, w), labels (N, h, w) -> (N, h, w); 0 at ignored pixels."""
    # in float32 also under autocast: a half-precision sum over pixels loses digits
    return F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE_INDEX, reduction="none")


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """The mean of `values` where `where` is true; 0, with a gradient of 0, where that is nowhere."""
    return (values * where).sum() / where.sum().clamp(min=1)


def counted(labels: Tensor, mean: MeanOver) -> Tensor:
    """The pixels that a mean divides by, whose loss is 0 where they are ignored. labels (N, h, w) -> (N, h, w) bool."""
    return labels != IGNORE_INDEX if mean == "labelled" else torch.ones_like(labels, dtype=torch.bool)


def cross_entropy(logits: Tensor, labels: Tensor, *, mean: MeanOver = "labelled") -> Tensor:
    """The mean cross entropy of pixels. logits (N, L, h, w), labels (N, h, w), IGNORE_INDEX not labelled."""
    return mean_over(pixel_cross_entropy(logits, labels), counted(labels, mean))


def focal(logits: Tensor, labels: Tensor, *, gamma: float, mean: MeanOver = "labelled") -> Tensor:
    """Cross entropy times (1 - p) ** gamma, p the probability of the label; the mean. Lin et al., ICCV 2017, eq. 4."""
    entropy = pixel_cross_entropy(logits, labels)
    # the root of 0 has no finite slope, and a gamma below 1 is a root
    doubt = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny ** 0.5)
    return mean_over(doubt**gamma * entropy * (labels != IGNORE_INDEX), counted(labels, mean))


def balanced(logits: Tensor, labels: Tensor) -> Tensor:
    """Half the sum of two mean cross entropies, over foreground and over background; a side that is absent counts 0."""
    entropy = pixel_cross_entropy(logits, labels)
    background = labels == BACKGROUND
    foreground = ~background & (labels != IGNORE_INDEX)
    return (mean_over(entropy, foreground) + mean_over(entropy, background)) / 2


def segmentation_loss(
    logits: Tensor, labels: Tensor, kind: str, *, gamma: float = 2.0, mean: MeanOver = "labelled"
) -> Tensor:
    """One loss by its name; `gamma` is of focal, `mean` of both but balanced. ValueError names the valid ones."""
    if kind == "cross_entropy":
        return cross_entropy(logits, labels, mean=mean)
    if kind == "focal":
        return focal(logits, labels, gamma=gamma, mean=mean)
    if kind == "balanced":
        return balanced(logits, labels)
    raise ValueError(f"loss {kind!r} is not one of {', '.join(KINDS)}")


def total_loss(
    all_logits: Sequence[Tensor],
    labels: Tensor,
    kind: str = "cross_entropy",
    *,
    gamma: float = 2.0,
    mean: MeanOver = "labelled",
) -> Tensor:
    """The sum of one loss a scale, labels (N, H, W) brought to the size of each scale's logits (N, L, h, w)."""
    losses = [
        segmentation_loss(logits, resize_labels(labels, logits.shape[2:]), kind, gamma=gamma, mean=mean)
        for logits in all_logits
    ]
    return torch.stack(losses).sum()
