"""DeepLab v2's head on any convolutional timm model."""

import difflib
from collections.abc import Mapping, Sequence

import timm
import torch
from torch import Tensor, nn

from deeplabv2.input_format import scaled_rgb
from deeplabv2.models.aspp import ASPP
from deeplabv2.models.segmenter import SingleScale
from utils.training.checkpoint import under_names_of

PROBE_SIZE = 64  # pixels a side; every stride that timm offers divides it
SUGGESTION = "choose a convolutional model that can be dilated, such as tf_efficientnet_lite0 or resnet50"


def create_features(name: str, *, output_stride: int) -> nn.Module:
    """The timm model up to its last feature map, with random weights. ValueError for what timm cannot do."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise ValueError(f"timm has no model {name!r}: {f'did you mean {near}?' if near else 'see timm.list_models()'}")
    # 32 is every model's own stride, and many take no such argument
    stride = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        # the getter keeps the names of the whole model, so that its weight files fit
        return timm.create_model(name, features_only=True, feature_cls="getter", out_indices=(-1,), **stride)
    except (TypeError, NotImplementedError, AssertionError, RuntimeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"timm:{name} cannot be built with output_stride {output_stride} "
            f"({str(error) or type(error).__name__}); {SUGGESTION}, or output_stride 32"
        ) from error


class DeepLabV2Timm(SingleScale):
    """ASPP on the last feature map of a timm model, at one scale."""

    head_prefixes = ("aspp.",)

    def __init__(
        self, name: str, num_labels: int, *, output_stride: int = 8, atrous_rates: Sequence[int] = (6, 12, 18, 24)
    ) -> None:
        super().__init__()
        self.name = f"DeepLabV2_timm:{name}"
        self.timm_name = name
        features = create_features(name, output_stride=output_stride)
        self.backbone = features.model
        # after pruning, the map keeps the index that the getter found for it
        self._index = list(features.out_indices)
        config = self.backbone.pretrained_cfg
        self.normalisation = scaled_rgb(config["mean"], config["std"])
        channels = self._probe()
        self.num_labels = num_labels
        self.aspp = ASPP(channels, num_labels, rates=atrous_rates)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the last feature map (N, C, h, w)."""
        return self.backbone.forward_intermediates(images, indices=self._index, intermediates_only=True)[-1]

    @torch.no_grad()
    def _probe(self) -> int:
        """Measure the stride, check the map's layout, and return its channels."""
        self.backbone.eval()
        try:
            found = self.features(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"{self.name} takes no images of any size ({error}); {SUGGESTION}") from error
        self.backbone.train()
        if found.ndim != 4 or found.shape[2] != found.shape[3]:
            raise ValueError(f"{self.name} has no map in (N, C, H, W) layout; {SUGGESTION}")
        self.output_stride = PROBE_SIZE // found.shape[-1]
        return found.shape[1]

    def logits(self, images: Tensor) -> Tensor:
        return self.aspp(self.features(images))

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole timm model's weights, by name, or, from a file with names of its own, by order and shape."""
        named = under_names_of(self.backbone.state_dict(), state, what=self.name)
        return {f"backbone.{name}": tensor for name, tensor in named.items()}

    def imagenet_state(self) -> dict[str, Tensor]:
        return timm.create_model(self.timm_name, pretrained=True).state_dict()

    def initial_files(self) -> str:
        return (
            f"weights of timm's {self.timm_name} (.safetensors or .pth), package:NAME for those in an installed "
            "package, or a checkpoint of the same network"
        )
