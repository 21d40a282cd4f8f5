"""The base classes of segmentation networks, and the wrapper for several scales."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deeplabv2.input_format import InputFormat
from deeplabv2.models.tag_evidence import TagEvidence
from models.errors import ModelOptionError
from models.freezing import FrozenStages
from utils.training.optimiser import BIAS_FACTOR, parameter_groups

# as published: the head's weights have ten times the backbone's learning rate, its biases twice that without decay
HEAD_LR_FACTOR = 10.0


WRAPPED = "base."  # prefix of MultiScale's weights, as published


class Segmenter(nn.Module, ABC):
    """Images (N, 3, H, W), prepared by `normalisation`, -> logits (N, L, h, w); in training mode a list of them.

    output_stride: H / h. head_prefixes: name prefixes of the layers without pretrained weights.
    """

    name: str
    num_labels: int
    output_stride: int
    normalisation: InputFormat
    head_prefixes: tuple[str, ...]

    @abstractmethod
    def single_scale(self) -> "SingleScale":
        """The single-scale network: this one, or the one it wraps."""

    def is_head(self, name: str) -> bool:
        """Return whether a parameter or buffer belongs to the head, which has no pretrained weights."""
        return name.startswith(self.head_prefixes)

    def parameter_kinds(self) -> dict[str, str]:
        """Map every parameter's name to "pretrained" (backbone) or "new" (head)."""
        return {name: "new" if self.is_head(name) else "pretrained" for name, _ in self.named_parameters()}

    def parameter_depths(self) -> dict[str, int]:
        """Map the backbone's parameters to the number of layers between each and the head. Raises ModelOptionError."""
        raise ModelOptionError("layer_decay", self.name, "only timm backbones name their layers: give 1")

    def parameter_groups(
        self,
        *,
        lr: float,
        head_lr_factor: float = HEAD_LR_FACTOR,
        head_bias_factor: float = BIAS_FACTOR,
        decay_vectors: bool = True,
        layer_decay: float = 1.0,
    ) -> list[dict]:
        """Build the published parameter groups: backbone lr; head 10 lr; biases of the head 20 lr without decay.

        A group's learning rate is its "base_lr" times the schedule's factor. Every trainable parameter is in one group.
        decay_vectors: False excludes all norms and biases from weight decay. layer_decay: see
        utils.training.optimiser.parameter_groups.
        """
        return parameter_groups(
            [self],
            lr=lr,
            new_lr_factor=head_lr_factor,
            bias_factors={"pretrained": 1.0, "new": head_bias_factor},
            biases_without_decay=("new",),
            decay_vectors=decay_vectors,
            layer_decay=layer_decay,
        )

    def freeze(self, *, stages: FrozenStages = 0, batch_norm: bool = False) -> Self:
        """Freeze the backbone's first `stages` stages, the stem included, and its batch norms.

        stages "backbone": all but the head. batch_norm: freeze statistics, weights and biases. Frozen layers stay
        frozen after `train()`. Raises ModelOptionError if the backbone has fewer stages.
        """
        self.single_scale().freeze(stages=stages, batch_norm=batch_norm)
        return self


class SingleScale(Segmenter):
    """A network with a single scale."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen_stages: FrozenStages = 0
        self._frozen_batch_norm = False
        self.tags: TagEvidence | None = None

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Compute logits (N, L, h, w) of images (N, 3, H, W), in either mode."""

    @abstractmethod
    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename backbone weights of another library to this network's names, dropping unknown ones.

        Raises WeightsError if no rule applies. The caller checks that nothing is missing.
        """

    @abstractmethod
    def imagenet_state(self) -> dict[str, Tensor]:
        """Download ImageNet weights of the backbone from its library, by the library's names."""

    @abstractmethod
    def initial_files(self) -> str:
        """Describe the files with initial weights for this network, for error messages."""

    @abstractmethod
    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return the modules of the backbone's first `stages` stages, the stem included; none for 0.

        Raises ModelOptionError if it has fewer.
        """

    def add_tag_evidence(self, strength: float) -> None:
        """Add a classifier of whole images, see TagEvidence. Raises ModelOptionError."""
        raise ModelOptionError("tag_evidence", strength, f"{self.name} has none: give 0, or choose a timm network")

    def with_evidence(self, logits: Tensor, images: Tensor) -> Tensor:
        """Add the tags' evidence, if any, to logits (N, L, h, w) of images (N, 3, H, W)."""
        return logits if self.tags is None else logits + self.tags(images)[:, :, None, None]

    def loose_parameters(self) -> list[nn.Parameter]:
        """Return what belongs to the stem and is in no module of `stage_modules`."""
        return []

    def single_scale(self) -> "SingleScale":
        return self

    def freeze(self, *, stages: FrozenStages = 0, batch_norm: bool = False) -> Self:
        self._frozen_stages, self._frozen_batch_norm = stages, batch_norm
        frozen = [p for module in self._frozen_modules() for p in module.parameters()]
        for parameter in [*frozen, *(self.loose_parameters() if stages else ())]:
            parameter.requires_grad_(False)
        return self.train(self.training)

    def _frozen_modules(self) -> list[nn.Module]:
        backbone = [module for name, module in self.named_modules() if self._is_backbone(f"{name}.")]
        if self._frozen_stages == "backbone":
            return backbone
        norms = [module for module in backbone if isinstance(module, _BatchNorm)] if self._frozen_batch_norm else []
        return [*self.stage_modules(self._frozen_stages), *norms]

    def _is_backbone(self, prefix: str) -> bool:
        # a module that also contains the head is not
        return not self.is_head(prefix) and not any(head.startswith(prefix.lstrip(".")) for head in self.head_prefixes)

    def train(self, mode: bool = True) -> Self:
        """Like nn.Module.train, but frozen batch norms keep their statistics."""
        super().train(mode)
        if mode and (self._frozen_stages or self._frozen_batch_norm):
            for module in self._frozen_modules():
                for layer in module.modules():
                    if isinstance(layer, _BatchNorm):
                        layer.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor] | Tensor:
        """Return [logits (N, L, h, w)] in training mode, logits in test mode."""
        logits = self.logits(images)
        return [logits] if self.training else self.with_evidence(logits, images)


class MultiScale(Segmenter):
    """One network applied at scale 1 and at `scales`, and the maximum. DeepLab v2, TPAMI 2017, sec. 4.1.2."""

    def __init__(self, base: SingleScale, *, scales: Sequence[float]) -> None:
        super().__init__()
        if not scales or not all(0 < scale < 1 for scale in scales):
            raise ModelOptionError("scales", scales, f"{base.name}_MSC needs one or more factors between 0 and 1")
        self.base = base
        self.scales = tuple(scales)
        self.name = f"{base.name}_MSC"
        self.num_labels, self.output_stride = base.num_labels, base.output_stride
        self.normalisation = base.normalisation
        self.head_prefixes = tuple(f"{WRAPPED}{prefix}" for prefix in base.head_prefixes)

    def single_scale(self) -> SingleScale:
        return self.base

    def parameter_depths(self) -> dict[str, int]:
        return {f"{WRAPPED}{name}": depth for name, depth in self.base.parameter_depths().items()}

    def forward(self, images: Tensor) -> list[Tensor] | Tensor:
        """Return [1x, each scale's logits at their own size, maximum] in training mode, the maximum in test mode.

        The maximum is over scales, per label, at the size of the 1x logits.
        """
        full = self.base.logits(images)
        reduced = [self.base.logits(_reduced(images, scale)) for scale in self.scales]
        enlarged = [F.interpolate(x, size=full.shape[2:], mode="bilinear", align_corners=False) for x in reduced]
        maximum = torch.stack([full, *enlarged]).max(0).values
        return [full, *reduced, maximum] if self.training else self.base.with_evidence(maximum, images)


def _reduced(images: Tensor, scale: float) -> Tensor:
    # by factor, not by size, so that the factor determines the sampling positions, as published
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
