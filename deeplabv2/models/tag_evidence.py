"""Evidence of which classes an image shows, from a classifier of whole images."""

import copy
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.timm_features import TimmModel  # timm takes a second to import

PREFIX = "tags."  # of its weights in a network that has one


class TagEvidence(nn.Module):
    """A logistic regression of an image's tags on the pooled features of a frozen copy of the backbone.

    A network that was trained on few images confuses classes that the features of its pretrained backbone tell apart;
    fine-tuning them for pixels loses that. The copy keeps the initial weights. Measured in docs/results.md.
    """

    def __init__(self, backbone: "TimmModel", channels: int, num_classes: int, *, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.backbone: TimmModel = copy.deepcopy(backbone)
        self.layer = nn.Linear(channels, num_classes)
        self.requires_grad_(False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled features (N, D) to what is added to every pixel's logits, (N, 1 + C) float32, background first.

        For a class: strength times the logarithm of its probability, relative to that of the most probable class.
        Background and the most probable class get 0, so foreground stays as large as it was.
        """
        probability = F.logsigmoid(self.layer(pooled).float())
        relative = self.strength * (probability - probability.amax(dim=1, keepdim=True))
        return F.pad(relative, (1, 0))
