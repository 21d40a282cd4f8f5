"""DeepLab v2's head on any convolutional timm model."""

from collections.abc import Mapping, Sequence

import timm
from torch import Tensor

from deeplabv2.input_format import scaled_rgb
from deeplabv2.models.aspp import ASPP
from deeplabv2.models.segmenter import SingleScale
from models.errors import Misfit
from models.timm_features import create_timm, cropped, measure, padded
from models.weights import fit, without_step_counts


class DeepLabV2Timm(SingleScale):
    """ASPP on the last feature map of a timm model, at one scale."""

    head_prefixes = ("aspp.",)

    def __init__(
        self, name: str, num_labels: int, *, output_stride: int = 8, atrous_rates: Sequence[int] = (6, 12, 18, 24)
    ) -> None:
        super().__init__()
        self.name = f"DeepLabV2_timm:{name}"
        self.timm_name = name
        # the getter keeps the names of the whole model, so that its weight files fit
        features = create_timm(
            name, output_stride=output_stride, features_only=True, feature_cls="getter", out_indices=(-1,)
        )
        self.backbone = features.model
        # after pruning, the map keeps the index that the getter found for it
        self._index = list(features.out_indices)
        config = self.backbone.pretrained_cfg
        self.normalisation = scaled_rgb(config["mean"], config["std"])
        self._multiple = 1
        layout = measure(self.backbone, lambda images: [self.features(images)], name=f"timm:{name}", channels=[None])
        self.output_stride, self._multiple = layout.stride, layout.multiple
        self.num_labels = num_labels
        self.aspp = ASPP(layout.channels, num_labels, rates=atrous_rates)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the last feature map (N, C, h, w)."""
        whole = padded(images, self._multiple)
        last = self.backbone.forward_intermediates(whole, indices=self._index, intermediates_only=True)[-1]
        return cropped(last, whole, images)

    def logits(self, images: Tensor) -> Tensor:
        return self.aspp(self.features(images))

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole timm model's weights, by name, or, from a file with names of its own, by order and shape."""

        def expected(misfit: Misfit) -> str:
            return f"expected one of: {self.initial_files()}"

        named = fit(
            without_step_counts(self.backbone.state_dict()), state, network=self.name, by_order=True, explain=expected
        )
        return {f"backbone.{name}": tensor for name, tensor in named.items()}

    def imagenet_state(self) -> dict[str, Tensor]:
        return timm.create_model(self.timm_name, pretrained=True).state_dict()

    def initial_files(self) -> str:
        return (
            f"weights of timm's {self.timm_name} (.safetensors or .pth), package:NAME for those in an installed "
            "package, or a checkpoint of the same network"
        )
