"""Losses over labelled pixels. None of them is NaN if no pixel is labelled, or only foreground or background."""

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
    """Resize labels (N, H, W) to (N, h, w), size (h, w), by the label at the centre of each new pixel.

    This is Pillow's nearest resampling, used by the published trainer. Other nearest methods shift the labels.
    """
    for dim, new in zip((1, 2), size, strict=True):
        old = labels.shape[dim]
        if old != new:
            # floor((i + 1/2) * old / new) in integers, which avoids rounding errors
            middles = (2 * torch.arange(new, device=labels.device) + 1) * old // (2 * new)
            labels = labels.index_select(dim, middles)
    return labels


def pixel_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross entropy per pixel. logits (N, L, h, w), labels (N, h, w) -> (N, h, w); 0 at ignored pixels."""
    # float32 also under autocast, since half-precision sums over pixels lose digits
    return F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE_INDEX, reduction="none")


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Average `values` where `where` is true; 0 with a gradient of 0 if it is nowhere."""
    return (values * where).sum() / where.sum().clamp(min=1)


def counted(labels: Tensor, mean: MeanOver) -> Tensor:
    """Return the pixels that a mean divides by; ignored ones have a loss of 0. labels (N, h, w) -> (N, h, w) bool."""
    return labels != IGNORE_INDEX if mean == "labelled" else torch.ones_like(labels, dtype=torch.bool)


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Multiply values (N, h, w) by the weight of each image, weights (N,); None is 1 for all."""
    return values if weights is None else values * weights[:, None, None]


def cross_entropy(
    logits: Tensor, labels: Tensor, *, mean: MeanOver = "labelled", weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over pixels. logits (N, L, h, w); labels (N, h, w), IGNORE_INDEX is unlabelled."""
    return mean_over(weighted(pixel_cross_entropy(logits, labels), weights), counted(labels, mean))


def focal(
    logits: Tensor, labels: Tensor, *, gamma: float, mean: MeanOver = "labelled", weights: Tensor | None = None
) -> Tensor:
    """Mean of cross entropy * (1 - p) ** gamma, p the probability of the label. Lin et al., ICCV 2017, eq. 4."""
    entropy = pixel_cross_entropy(logits, labels)
    # clamped, because for gamma < 1 the power has no finite derivative at 0
    doubt = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny ** 0.5)
    return mean_over(weighted(doubt**gamma * entropy * (labels != IGNORE_INDEX), weights), counted(labels, mean))


def balanced(logits: Tensor, labels: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Average of the mean cross entropies over foreground and over background; an absent one counts as 0."""
    entropy = weighted(pixel_cross_entropy(logits, labels), weights)
    background = labels == BACKGROUND
    foreground = ~background & (labels != IGNORE_INDEX)
    return (mean_over(entropy, foreground) + mean_over(entropy, background)) / 2


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    kind: str,
    *,
    gamma: float = 2.0,
    mean: MeanOver = "labelled",
    weights: Tensor | None = None,
) -> Tensor:
    """Compute a loss by name. gamma: for focal. mean: for cross_entropy and focal. Raises ValueError if unknown.

    weights (N,): factor on the loss of each image's pixels; means still divide by the number of pixels.
    """
    if kind == "cross_entropy":
        return cross_entropy(logits, labels, mean=mean, weights=weights)
    if kind == "focal":
        return focal(logits, labels, gamma=gamma, mean=mean, weights=weights)
    if kind == "balanced":
        return balanced(logits, labels, weights=weights)
    raise ValueError(f"loss {kind!r}: expected one of {', '.join(KINDS)}")


def total_loss(
    all_logits: Sequence[Tensor],
    labels: Tensor,
    kind: str = "cross_entropy",
    *,
    gamma: float = 2.0,
    mean: MeanOver = "labelled",
    weights: Tensor | None = None,
) -> Tensor:
    """Sum the losses of all scales, with labels (N, H, W) resized to each scale's logits (N, L, h, w)."""
    losses = [
        segmentation_loss(
            logits, resize_labels(labels, logits.shape[2:]), kind, gamma=gamma, mean=mean, weights=weights
        )
        for logits in all_logits
    ]
    return torch.stack(losses).sum()
