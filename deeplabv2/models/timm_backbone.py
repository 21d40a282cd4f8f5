"""Segmentation networks on any timm model with spatial features."""

from collections.abc import Mapping, Sequence

import timm
from torch import Tensor, nn

from deeplabv2.input_format import scaled_rgb
from deeplabv2.models.aspp import ASPP
from deeplabv2.models.segmenter import SingleScale
from deeplabv2.models.separable_head import SeparableHead
from deeplabv2.models.tag_evidence import TagEvidence
from models.errors import Misfit, ModelOptionError
from models.timm_features import (
    SUGGESTION,
    TimmModel,
    any_size,
    check_stride,
    create_timm,
    cropped,
    form_of,
    layer_depths,
    measure,
    padded,
    split_name,
    stage_indices,
    timm_stage_modules,
    tokens_of,
)
from models.weights import fit, without_step_counts

SKIP_STRIDE = 8  # stride of the finer map in SeparableHead
V3PLUS_STRIDE = 16


class TimmSegmenter(SingleScale):
    """A timm model's feature maps, input format and initial weights. Subclasses add the head."""

    head_prefixes = ("head.",)

    def __init__(
        self,
        name: str,
        num_labels: int,
        *,
        output_stride: int | None,
        default_stride: int,
        indices: Sequence[int],
        channels: Sequence[int | None],
    ) -> None:
        """indices: the maps to use, coarsest last. channels: their channels, None where unknown.

        output_stride: None is default_stride, or a transformer's own.
        """
        super().__init__()
        self.timm_name, self.num_labels = name, num_labels
        self._indices, stride = list(indices), output_stride or default_stride
        self._is_transformer = bool(any_size(name))
        self.backbone: TimmModel
        if self._is_transformer:  # its last norm belongs to its features
            self.backbone = create_timm(name, output_stride=stride, num_classes=0, global_pool="")
        else:
            # the feature getter keeps the names of the complete model, so that its weights files fit
            features = create_timm(
                name, output_stride=stride, features_only=True, feature_cls="getter", out_indices=tuple(indices)
            )
            self.backbone = features.model
            # after pruning, maps keep the getter's indices
            self._indices = list(features.out_indices)
        config = self.backbone.pretrained_cfg
        self.normalisation = scaled_rgb(tuple(config["mean"]), tuple(config["std"]))
        self._multiple = form_of(self.backbone).patch
        self.layout = measure(
            self.backbone, self.features, name=f"timm:{name}", channels=channels, multiple=self._multiple
        )
        check_stride(name, output_stride, self.layout.stride)
        self.output_stride, self._multiple = self.layout.stride, self.layout.multiple

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the used maps (N, C, h, w) of images (N, 3, H, W), coarsest last."""
        return self._maps_of(self.backbone, images)

    def _maps_of(self, backbone: TimmModel, images: Tensor) -> list[Tensor]:
        whole = padded(images, self._multiple)
        norm = {"norm": True} if self._is_transformer else {}
        maps = backbone.forward_intermediates(whole, indices=self._indices, intermediates_only=True, **norm)
        return [cropped(x, whole, images) for x in maps]

    def add_tag_evidence(self, strength: float) -> None:
        classes = self.num_labels - 1
        self.tags = TagEvidence(self.backbone, self._maps_of, self.layout.channels, classes, strength=strength)

    def stage_modules(self, stages: int) -> list[nn.Module]:
        return timm_stage_modules(self.backbone, form_of(self.backbone), stages, f"timm:{self.timm_name}")

    def loose_parameters(self) -> list[nn.Parameter]:
        return tokens_of(self.backbone, form_of(self.backbone))

    def parameter_depths(self) -> dict[str, int]:
        depths = layer_depths(self.backbone, f"timm:{self.timm_name}")
        return {f"backbone.{name}": depth for name, depth in depths.items()}

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Match weights of the complete timm model by name, or those of a file with other names by order and shape."""

        def expected(misfit: Misfit) -> str:
            return f"expected one of: {self.initial_files()}"

        named = fit(
            without_step_counts(self.backbone.state_dict()), state, network=self.name, by_order=True, explain=expected
        )
        return {f"backbone.{name}": tensor for name, tensor in named.items()}

    def imagenet_state(self) -> dict[str, Tensor]:
        return timm.create_model(split_name(self.timm_name)[0], pretrained=True).state_dict()

    def initial_files(self) -> str:
        return (
            f"weights of timm's {self.timm_name} (.safetensors or .pth), package:NAME for those in an installed "
            "package, or a checkpoint of the same network"
        )


class DeepLabV2Timm(TimmSegmenter):
    """ASPP on the last feature map of a timm model, at one scale."""

    head_prefixes = ("aspp.",)

    def __init__(
        self,
        name: str,
        num_labels: int,
        *,
        output_stride: int | None = None,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
    ) -> None:
        super().__init__(
            name, num_labels, output_stride=output_stride, default_stride=8, indices=(-1,), channels=(None,)
        )
        self.name = f"DeepLabV2_timm:{name}"
        self.aspp = ASPP(self.layout.channels, num_labels, rates=atrous_rates)

    def logits(self, images: Tensor) -> Tensor:
        return self.aspp(self.features(images)[-1])


class DeepLabV3PlusTimm(TimmSegmenter):
    """SeparableHead on the last map of a timm model and a finer one, whose stride the logits have.

    The finer map is the first of stride 8. A plain transformer has one stride: its finer map is that of its first
    quarter of blocks.
    """

    def __init__(
        self,
        name: str,
        num_labels: int,
        *,
        output_stride: int | None = None,
        atrous_rates: Sequence[int] = (3, 6, 9),
    ) -> None:
        if output_stride not in (None, 8, 16) and not any_size(name):
            raise ModelOptionError("output_stride", output_stride, f"expected 8 or 16 for DeepLabV3Plus_timm:{name}")
        skip, channels, stride = finer_map(name, output_stride or V3PLUS_STRIDE)
        super().__init__(
            name,
            num_labels,
            output_stride=output_stride,
            default_stride=V3PLUS_STRIDE,
            indices=(skip, -1),
            channels=(channels, None),
        )
        self.name = f"DeepLabV3Plus_timm:{name}"
        self.output_stride = stride
        self.head = SeparableHead(self.layout.channels, channels, num_labels, rates=atrous_rates)

    def logits(self, images: Tensor) -> Tensor:
        skip, last = self.features(images)
        return self.head(last, skip)


def finer_map(name: str, output_stride: int) -> tuple[int, int, int]:
    """Return index, channels and stride of DeepLabV3PlusTimm's finer map. Raises ModelOptionError."""
    if any_size(name):
        model = create_timm(name, output_stride=None, num_classes=0, global_pool="")
        form = form_of(model)
        strides = [entry["reduction"] for entry in model.feature_info]
        channels = [entry["num_chs"] for entry in model.feature_info]
        if form.kind == "tokens":
            skip = stage_indices(len(strides), form)[0]
            return skip, channels[skip], strides[skip]
    else:
        info = create_timm(name, output_stride=output_stride, features_only=True).feature_info
        strides, channels = info.reduction(), info.channels()
    if SKIP_STRIDE not in strides[:-1]:
        raise ModelOptionError("backbone", f"timm:{name}", f"it has no map of stride {SKIP_STRIDE}; {SUGGESTION}")
    skip = strides.index(SKIP_STRIDE)
    return skip, channels[skip], SKIP_STRIDE
