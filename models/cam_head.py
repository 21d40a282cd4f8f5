"""The part that every CAM network shares: class maps, pixel correlation, freezing, loading of backbone weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.attention import ATTENTION
from models.errors import ModelOptionError
from models.suppression import FixedSuppression, LearnableSuppression, build_suppression, suppression_control

HEAD_LAYERS = ("final_norm", "fc8", "f8_3", "f8_4", "f9")
# entries of one image's affinity that are held at a time: 64 MiB in float32
AFFINITY_ENTRIES = 2**24


class Features(NamedTuple):
    """Maps of an image: conv4 (N, C4, h4, w4), conv5 (N, C5, h5, w5), conv6 (N, C6, h, w), which is not negative."""

    conv4: Tensor
    conv5: Tensor
    conv6: Tensor


class CamOutput(NamedTuple):
    """cams (N, C + 1, h, w), unbounded, the last channel background; scores (N, C), logits of the object classes."""

    cams: Tensor
    scores: Tensor


def move_by_affinity(maps: Tensor, features: Tensor) -> Tensor:
    """Spread `maps` between alike positions: the pixel-correlation module (PCM) of SEAM, Wang et al., CVPR 2020.

    maps (N, K, h, w), features (N, D, h, w) -> (N, K, h, w). Columns of the (hw, hw) affinity are made in blocks,
    so that memory stays bounded on large maps.
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

    A subclass makes its layers, then calls `_build_head`, and gives the feature maps and the order of its stages.
    """

    backbone_name: str
    output_stride: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self) -> None:
        super().__init__()
        self._frozen_stages = 0
        self._frozen_batch_norm = False
        self._published_gates = False
        self._suppression: dict[int, str] = {}

    @abstractmethod
    def features(self, image: Tensor) -> Features:
        """Feature maps of the image (N, 3, H, W)."""

    @abstractmethod
    def stage_modules(self, stages: int) -> list[nn.Module]:
        """The modules of the stem and the next `stages` - 1 stages; none for 0."""

    @abstractmethod
    def backbone_state(self) -> dict[str, Tensor]:
        """What `load_backbone` fills, under the names that it expects."""

    @abstractmethod
    def load_backbone(self, state: Mapping[str, Any]) -> None:
        """Load image-pretrained weights, or a checkpoint's, into all but the new layers, or raise WeightsError."""

    def _build_head(self, channels: tuple[int, int, int], embedding: tuple[int, int], num_classes: int) -> None:
        """`channels` of conv4, conv5, conv6; `embedding` channels that the PCM makes of conv4 and conv5."""
        self.num_classes = num_classes
        self.fc8 = nn.Conv2d(channels[2], num_classes + 1, 1, bias=False)
        self.f8_3 = nn.Conv2d(channels[0], embedding[0], 1, bias=False)
        self.f8_4 = nn.Conv2d(channels[1], embedding[1], 1, bias=False)
        self.f9 = nn.Conv2d(3 + sum(embedding), sum(embedding), 1, bias=False)
        # the initial values of SEAM
        nn.init.xavier_uniform_(self.fc8.weight)
        nn.init.kaiming_normal_(self.f8_3.weight)
        nn.init.kaiming_normal_(self.f8_4.weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def _add_suppression(self, spec: str, stages: Iterable[int], channels: Mapping[int, int]) -> None:
        """Make the suppression of `stages`; `channels` maps each stage that there is to its channels."""
        suppression_control(spec)  # a bad name is an error even without stages
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
        """Class maps, plus the same maps moved by the PCM."""
        maps = self.fc8(features.conv6)
        # fc8 is linear and without bias: moving its few maps gives the numbers of moving conv6
        cams = maps + move_by_affinity(maps, self.embed(image, features))
        # the last channel is background: it is no class to score
        return CamOutput(cams, cams[:, :-1].mean((2, 3)))

    def embed(self, image: Tensor, features: Features) -> Tensor:
        """What the PCM compares positions by, at the size of conv6. -> (N, D, h, w)."""
        # the affinity trains its own four layers, not the backbone through conv4 and conv5
        shallow = _resized(self.f8_3(features.conv4.detach()), features.conv6)
        deep = _resized(self.f8_4(features.conv5.detach()), features.conv6)
        return self.f9(torch.cat([_resized(image, features.conv6), shallow, deep], 1))

    def new_layers(self) -> dict[str, nn.Module]:
        """The layers without image-pretrained weights, by name: head, attention, suppression."""
        kinds = (*ATTENTION.values(), FixedSuppression, LearnableSuppression)
        return {n: m for n, m in self.named_modules() if n in HEAD_LAYERS or isinstance(m, kinds)}

    def new_prefixes(self) -> tuple[str, ...]:
        """How the names of the new layers' parameters and buffers begin."""
        return tuple(f"{layer}." for layer in self.new_layers())

    def parameter_kinds(self) -> dict[str, str]:
        """Every parameter's name -> "pretrained" (backbone) or "new" (head, attention, suppression).

        With gates as published only the head is new.
        """
        new = tuple(f"{layer}." for layer in HEAD_LAYERS) if self._published_gates else self.new_prefixes()
        return {name: "new" if name.startswith(new) else "pretrained" for name, _ in self.named_parameters()}

    def freeze(self, *, stages: int, batch_norm: bool, published_gates: bool = False) -> None:
        """Stop the learning of the first `stages` stages (1: the stem; published: 2) and of the backbone's batch norms.

        `batch_norm` covers statistics, weights and biases. New layers always learn, unless `published_gates`: the
        published optimiser holds 2-D convolutions alone, so that attention's learn as pretrained layers do, and linear
        layers, 1-D convolutions, norms and factors of attention and suppression keep their start. It outlasts
        `train()`.
        """
        self._frozen_stages, self._frozen_batch_norm = stages, batch_norm
        self._published_gates = published_gates
        new = {id(p) for layer in self.new_layers().values() for p in layer.parameters()}
        for module in self._frozen_modules():
            for parameter in module.parameters():
                if id(parameter) not in new:
                    parameter.requires_grad_(False)
        if published_gates:
            for module in self.modules():
                if not isinstance(module, nn.Conv2d):
                    for parameter in module.parameters(recurse=False):
                        parameter.requires_grad_(False)
        self.train(self.training)

    def _frozen_modules(self) -> list[nn.Module]:
        modules = list(self.stage_modules(self._frozen_stages))
        return modules + (self._backbone_batch_norms() if self._frozen_batch_norm else [])

    def _backbone_batch_norms(self) -> list[nn.Module]:
        # batch norms inside attention have no pretrained statistics, so they must learn; the published ones did not
        new = () if self._published_gates else self.new_prefixes()
        return [m for n, m in self.named_modules() if isinstance(m, _BatchNorm) and not f"{n}.".startswith(new)]

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but frozen batch norms keep their statistics."""
        super().train(mode)
        if mode and (self._frozen_stages or self._frozen_batch_norm):
            frozen = {id(m) for module in self._frozen_modules() for m in module.modules()}
            for module in self._backbone_batch_norms():
                if id(module) in frozen:
                    module.eval()
        return self
