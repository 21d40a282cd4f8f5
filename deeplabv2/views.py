"""Test-time augmentation: a network's output for an image, or the mean over several sizes and mirror images."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from deeplabv2.models import Segmenter

SMALLEST = 1e-6  # probability whose logarithm is representable in half precision


@dataclass(frozen=True)
class Views:
    """scales: factors on the network's input size. mirror: also use each mirrored."""

    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False

    @property
    def is_one(self) -> bool:
        return self == Views()


def logits_of(network: Segmenter, images: Tensor, views: Views) -> Tensor:
    """Compute logits (N, L, h, w) float32 of prepared images (N, 3, H, W).

    For several views: the logarithm of the views' mean probabilities, at the size of the largest view's logits.
    """
    if views.is_one:
        return network(images).float()
    total, count, target = None, 0, None
    for scale in sorted(views.scales, reverse=True):
        view = images
        if scale != 1:
            size = [max(1, round(scale * side)) for side in images.shape[2:]]
            view = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        for mirrored in (False, True) if views.mirror else (False,):
            logits = network(view.flip(-1) if mirrored else view).float()
            logits = logits.flip(-1) if mirrored else logits
            target = target or logits.shape[2:]
            probabilities = F.interpolate(logits, target, mode="bilinear", align_corners=False).softmax(dim=1)
            total = probabilities if total is None else total + probabilities
            count += 1
    assert total is not None
    return (total / count).clamp(min=SMALLEST).log()
