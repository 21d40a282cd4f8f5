"""The base class of all CAM networks: class maps, pixel correlation, freezing, loading backbone weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.attention import ATTENTION
from models.errors import ModelOptionError
from models.freezing import FrozenStages
from models.suppression import FixedSuppression, LearnableSuppression, build_suppression, suppression_control

HEAD_LAYERS = ("final_norm", "fc8", "f8_3", "f8_4", "f9")
# entries of an image's affinity matrix in memory at a time: 64 MiB in float32
AFFINITY_ENTRIES = 2**24


class Features(NamedTuple):
    """Feature maps: conv4 (N, C4, h4, w4), conv5 (N, C5, h5, w5), conv6 (N, C6, h, w)."""

    conv4: Tensor
    conv5: Tensor
    conv6: Tensor


class CamOutput(NamedTuple):
    """cams (N, C + 1, h, w): unbounded, last channel background. scores (N, C): logits of the object classes."""

    cams: Tensor
    scores: Tensor


def move_by_affinity(maps: Tensor, features: Tensor) -> Tensor:
    """Propagate `maps` between similar positions: pixel-correlation module (PCM) of SEAM, Wang et al., CVPR 2020.

    maps (N, K, h, w), features (N, D, h, w) -> (N, K, h, w). The (hw, hw) affinity matrix is computed in blocks
    of columns, which bounds memory on large maps.
    """
    features = features.flatten(2)
    features = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-5)
    rows, flat = features.transpose(1, 2), maps.flatten(2)
    moved = []
    for columns in features.split(max(1, AFFINITY_ENTRIES // features.shape[2]), dim=2):
        affinity = (rows @ columns).relu_()
        moved.append((flat @ affinity) / (affinity.sum(1, keepdim=True) + 1e-5))
    return torch.cat(moved, 2).view_as(maps)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class CamNet(nn.Module, ABC):
    """Image (N, 3, H, W), normalised with `mean` and `std`, -> CamOutput. L2G, Jiang et al., CVPR 2022.

    A subclass builds its layers, calls `_build_head`, and implements `features` and `stage_modules`.
    """

    backbone_name: str
    output_stride: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self) -> None:
        super().__init__()
        self._frozen_stages: FrozenStages = 0
        self._frozen_batch_norm = False
        self._published_gates = False
        self._suppression: dict[int, str] = {}

    @abstractmethod
    def features(self, image: Tensor) -> Features:
        """Compute the feature maps of images (N, 3, H, W)."""

    @abstractmethod
    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return the modules of the first `stages` stages, the stem included; none for 0."""

    @abstractmethod
    def parameter_depths(self) -> dict[str, int]:
        """Map the backbone's parameters to the number of layers between each and the head. Raises ModelOptionError."""

    def loose_parameters(self) -> list[nn.Parameter]:
        """Return what belongs to the stem and is in no module of `stage_modules`."""
        return []

    @abstractmethod
    def backbone_state(self) -> dict[str, Tensor]:
        """Return the tensors that `load_backbone` fills, by the names it expects."""

    @abstractmethod
    def load_backbone(self, state: Mapping[str, Any]) -> None:
        """Load ImageNet weights or a checkpoint into all layers except the new ones. Raises WeightsError."""

    def _build_head(self, channels: tuple[int, int, int], embedding: tuple[int, int], num_classes: int) -> None:
        """channels: of conv4, conv5, conv6. embedding: the channels that the PCM projects conv4 and conv5 to."""
        self.num_classes = num_classes
        self.fc8 = nn.Conv2d(channels[2], num_classes + 1, 1, bias=False)
        self.f8_3 = nn.Conv2d(channels[0], embedding[0], 1, bias=False)
        self.f8_4 = nn.Conv2d(channels[1], embedding[1], 1, bias=False)
        self.f9 = nn.Conv2d(3 + sum(embedding), sum(embedding), 1, bias=False)
        # initialisation of SEAM
        nn.init.xavier_uniform_(self.fc8.weight)
        nn.init.kaiming_normal_(self.f8_3.weight)
        nn.init.kaiming_normal_(self.f8_4.weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def _add_suppression(self, spec: str, stages: Iterable[int], channels: Mapping[int, int]) -> None:
        """Add suppression after `stages`. channels: every existing stage -> its number of channels."""
        suppression_control(spec)  # an invalid name is an error even without stages
        unknown = sorted(set(stages) - set(channels))
        if unknown:
            raise ModelOptionError(
                "suppression_stages", sorted(set(stages)), f"{self.backbone_name} has the stages {sorted(channels)}"
            )
        if spec == "none":
            return
        kind = "learnable" if spec == "learnable" else "fixed"
        for stage in sorted(set(stages)):
            name = f"DRS_{kind}_layer{stage}"
            self.add_module(name, build_suppression(spec, channels[stage]))
            self._suppression[stage] = name

    def _suppress(self, stage: int, x: Tensor) -> Tensor:
        name = self._suppression.get(stage)
        return x if name is None else self.get_submodule(name)(x)

    def forward(self, image: Tensor) -> CamOutput:
        """image (N, 3, H, W) -> cams (N, C + 1, H / stride, W / stride) and scores (N, C)."""
        return self.head(image, self.features(image))

    def head(self, image: Tensor, features: Features) -> CamOutput:
        """Return the class maps plus the same maps propagated by the PCM."""
        maps = self.fc8(features.conv6)
        # fc8 is linear without bias: propagating its few maps gives the same result as propagating conv6
        cams = maps + move_by_affinity(maps, self.embed(image, features))
        # the last channel is background, which is not scored
        return CamOutput(cams, cams[:, :-1].mean((2, 3)))

    def embed(self, image: Tensor, features: Features) -> Tensor:
        """Compute the embedding (N, D, h, w) in which the PCM compares positions, at the size of conv6."""
        # detached: the affinity does not train the backbone through conv4 and conv5
        shallow = _resized(self.f8_3(features.conv4.detach()), features.conv6)
        deep = _resized(self.f8_4(features.conv5.detach()), features.conv6)
        return self.f9(torch.cat([_resized(image, features.conv6), shallow, deep], 1))

    @torch.no_grad()
    def use_linear(self, weights: Tensor) -> None:
        """Make the class maps linear in the final features: weights (C, D), no background, and no PCM."""
        for layer in (self.fc8, self.f8_3, self.f8_4, self.f9):
            layer.weight.zero_()  # with an embedding of zeros, the PCM adds nothing
        self.fc8.weight[:-1] = weights[:, :, None, None]

    def new_layers(self) -> dict[str, nn.Module]:
        """Return the layers without pretrained weights by name: head, attention, suppression."""
        kinds = (*ATTENTION.values(), FixedSuppression, LearnableSuppression)
        return {n: m for n, m in self.named_modules() if n in HEAD_LAYERS or isinstance(m, kinds)}

    def new_prefixes(self) -> tuple[str, ...]:
        """Return the name prefixes of the new layers' parameters and buffers."""
        return tuple(f"{layer}." for layer in self.new_layers())

    def parameter_kinds(self) -> dict[str, str]:
        """Map every parameter's name to "pretrained" (backbone) or "new" (head, attention, suppression).

        With published_gates only the head is new.
        """
        new = tuple(f"{layer}." for layer in HEAD_LAYERS) if self._published_gates else self.new_prefixes()
        return {name: "new" if name.startswith(new) else "pretrained" for name, _ in self.named_parameters()}

    def freeze(self, *, stages: FrozenStages, batch_norm: bool, published_gates: bool = False) -> None:
        """Freeze the first `stages` stages (1: the stem; published: 2) and the backbone's batch norms.

        stages "backbone": all but the new layers. batch_norm: freeze statistics, weights and biases. New layers always
        train, except with published_gates: the published optimiser only collects 2-D convolutions, so those of
        attention modules train at the pretrained learning rate, while linear layers, 1-D convolutions, norms and
        factors in attention and suppression keep their initial values. Frozen layers stay frozen after `train()`.
        """
        self._frozen_stages, self._frozen_batch_norm = stages, batch_norm
        self._published_gates = published_gates
        new = {id(p) for layer in self.new_layers().values() for p in layer.parameters()}
        frozen = [p for module in self._frozen_modules() for p in module.parameters()]
        for parameter in [*frozen, *(self.loose_parameters() if stages else ())]:
            if id(parameter) not in new:
                parameter.requires_grad_(False)
        if published_gates:
            for module in self.modules():
                if not isinstance(module, nn.Conv2d):
                    for parameter in module.parameters(recurse=False):
                        parameter.requires_grad_(False)
        self.train(self.training)

    def _frozen_modules(self) -> list[nn.Module]:
        if self._frozen_stages == "backbone":
            new = self.new_prefixes()
            modules = [m for name, m in self.named_children() if not f"{name}.".startswith(new)]
        else:
            modules = list(self.stage_modules(self._frozen_stages))
        return modules + (self._backbone_batch_norms() if self._frozen_batch_norm else [])

    def _backbone_batch_norms(self) -> list[nn.Module]:
        # batch norms in attention modules have no pretrained statistics and must train; the published ones did not
        new = () if self._published_gates else self.new_prefixes()
        return [m for n, m in self.named_modules() if isinstance(m, _BatchNorm) and not f"{n}.".startswith(new)]

    def train(self, mode: bool = True) -> Self:
        """Like nn.Module.train, but frozen batch norms keep their statistics."""
        super().train(mode)
        if mode and (self._frozen_stages or self._frozen_batch_norm):
            frozen = {id(m) for module in self._frozen_modules() for m in module.modules()}
            for module in self._backbone_batch_norms():
                if id(module) in frozen:
                    module.eval()
        return self
