"""Evidence of which classes an image shows, from a classifier of whole images."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.timm_features import TimmModel  # timm takes a second to import

PREFIX = "tags."  # of its weights in a network that has one; the copy's names continue with those of the backbone


class TagEvidence(nn.Module):
    """A logistic regression of an image's tags on the pooled features of a frozen copy of the backbone.

    A network that was trained on few images confuses classes that the features of its pretrained backbone tell apart;
    fine-tuning them for pixels loses that. The copy keeps the initial weights. Measured in docs/results.md.
    """

    def __init__(
        self,
        backbone: "TimmModel",
        maps_of: "Callable[[TimmModel, Tensor], Sequence[Tensor]]",
        channels: int,
        num_classes: int,
        *,
        strength: float,
    ) -> None:
        """maps_of: computes the maps of a backbone and images; the last one, of `channels`, is pooled."""
        super().__init__()
        self._maps_of = maps_of
        self.strength = strength
        self.backbone: TimmModel = copy.deepcopy(backbone)
        self.layer = nn.Linear(channels, num_classes)
        self.requires_grad_(False)

    def pool(self, images: Tensor) -> Tensor:
        """Compute the features (N, D) of images (N, 3, H, W) that the regression is fitted to."""
        return self._maps_of(self.backbone, images)[-1].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return what is added to every pixel's logits of images (N, 3, H, W): (N, 1 + C) float32, background first.

        For a class: strength times the logarithm of its probability, relative to that of the most probable class.
        Background and the most probable class get 0, so foreground stays as large as it was.
        """
        probability = F.logsigmoid(self.layer(self.pool(images)).float())
        relative = self.strength * (probability - probability.amax(dim=1, keepdim=True))
        return F.pad(relative, (1, 0))
