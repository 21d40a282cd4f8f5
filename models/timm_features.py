"""Any timm model with spatial features as an extractor: build, measure, and pad images to the size it needs."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from torch import Tensor, nn

from models.errors import ModelOptionError
from models.freezing import check_stages
from models.same_padding import crop_outputs

SUGGESTION = (
    "choose a convolutional model that can be dilated, such as tf_efficientnet_lite0 or resnet50, "
    "or a transformer such as vit_small_patch16_224 or swin_tiny_patch4_window7_224"
)
WHOLE = (64, 64)  # height and width in pixels, divisible by every stride that timm offers
# by none of them, and shorter than any: sides of small photos, and of larger ones at a small scale
ODD = ((75, 93), (5, 31), (1, 1))
COARSEST = 32  # nearly every timm model accepts multiples of it
# timm's module of a transformer family -> what makes its models accept images of any size
ANY_SIZE: dict[str, dict[str, Any]] = {
    "vision_transformer": {"dynamic_img_size": True},  # position embeddings are resampled to the image's grid
    "deit": {"dynamic_img_size": True},
    "eva": {"dynamic_img_size": True},
    "swin_transformer": {"strict_img_size": False},
    "swin_transformer_v2": {"strict_img_size": False},
}
STAGES_OF_BLOCKS = 4  # stages that the blocks of a plain transformer are counted as


@dataclass(frozen=True)
class FeatureLayout:
    """Channels and stride of a model's last map, and the multiple that image sides are padded to."""

    channels: int
    stride: int
    multiple: int


def split_name(name: str) -> tuple[str, int | None]:
    """Split a name: NAME -> (NAME, None); NAME@4 (the model up to its fourth feature map) -> (NAME, 4)."""
    plain, at, depth = name.partition("@")
    if not at:
        return plain, None
    if not depth.isdigit() or int(depth) < 3:
        raise ModelOptionError("backbone", f"timm:{name}", "expected the number of feature maps after @, 3 or more")
    return plain, int(depth)


@dataclass(frozen=True)
class MapForm:
    """How a model lays out its maps inside, and how they become (N, C, h, w) and back.

    kind: maps are (N, C, h, w); channels_last (N, h, w, C); tokens (N, prefix + h * w, C), where the prefix holds class
    and register tokens and a position is one of `patch` pixels a side.
    """

    kind: Literal["maps", "channels_last", "tokens"] = "maps"
    prefix: int = 0
    patch: int = 1

    def to_map(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return the model's x as (N, C, h, w). size (height, width) is that of the images that the model is given."""
        if self.kind == "channels_last":
            return x.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            return x[:, self.prefix :].transpose(1, 2).unflatten(2, [side // self.patch for side in size])
        return x

    def from_map(self, features: Tensor, x: Tensor) -> Tensor:
        """Return features (N, C, h, w) laid out as the model's x, whose prefix is kept."""
        if self.kind == "channels_last":
            return features.permute(0, 2, 3, 1)
        if self.kind == "tokens":
            return torch.cat([x[:, : self.prefix], features.flatten(2).transpose(1, 2)], 1)
        return features


def form_of(model: nn.Module) -> MapForm:
    """Read from a timm model how it lays out its maps."""
    prefix = getattr(model, "num_prefix_tokens", None)
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if prefix is not None and patch is not None:
        return MapForm("tokens", prefix, patch[0])
    return MapForm("channels_last" if getattr(model, "output_fmt", "") == "NHWC" else "maps")


def entries_of(model: nn.Module) -> list[tuple[str, int]]:
    """List (module name, channels) of the feature maps that a timm model names, finest first."""
    info = getattr(model, "feature_info", None) or []
    return [(entry["module"], entry["num_chs"]) for entry in getattr(info, "info", info)]


def stage_indices(count: int, form: MapForm) -> list[int]:
    """Return which of `count` feature maps end a stage: all, or, of a plain transformer's blocks, every quarter."""
    if form.kind != "tokens" or count <= STAGES_OF_BLOCKS:
        return list(range(count))
    return [(stage + 1) * count // STAGES_OF_BLOCKS - 1 for stage in range(STAGES_OF_BLOCKS)]


def timm_stage_modules(model: nn.Module, form: MapForm, stages: int, name: str) -> list[nn.Module]:
    """Return every layer up to the `stages`-th feature map: the stem's, or a transformer's first block, is 1.

    Raises ModelOptionError if the model has fewer.
    """
    names = [module for module, _ in model.named_modules()]
    ends = [module for module, _ in entries_of(model) if module in names]  # of a truncated model, those that are left
    check_stages(stages, len(ends), name, what="blocks" if form.kind == "tokens" else "stages")
    if stages == 0:
        return []
    last = ends[stages - 1]
    end = 1 + max(i for i, module in enumerate(names) if module == last or module.startswith(f"{last}."))
    # layers are registered in execution order; skip parents that also contain later layers
    parents = {module[:i] for module in names[end:] for i, letter in enumerate(module) if letter == "."} | {""}
    return [model.get_submodule(module) for module in names[:end] if module not in parents]


def tokens_of(model: nn.Module, form: MapForm) -> list[nn.Parameter]:
    """Return a transformer's tokens and position embeddings, which are in none of its modules."""
    return list(model.parameters(recurse=False)) if form.kind == "tokens" else []


def any_size(name: str) -> dict[str, Any]:
    """Return the arguments that make a transformer accept images of any size; none for models of other families."""
    plain, _ = split_name(name)
    if not timm.is_model(plain):
        return {}
    return ANY_SIZE.get(timm.model_entrypoint(plain).__module__.rpartition(".")[2], {})


def layer_depths(model: Any, name: str) -> dict[str, int]:
    """Map every parameter's name to the number of layers, as timm counts them, between it and the model's end.

    Raises ModelOptionError for models whose layers timm does not name.
    """
    if not hasattr(model, "group_matcher"):
        raise ModelOptionError("layer_decay", name, f"timm names no layers of it; {SUGGESTION}, or give 1")
    layers = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {parameter: last - layer for parameter, layer in layers.items()}


class TimmModel(nn.Module):
    """Type annotation for timm models, which do not inherit from it: attributes that nn.Module does not have."""

    feature_info: Any
    forward_features: Callable[..., Any]
    pretrained_cfg: Any
    forward_intermediates: Callable[..., Any]


def cut(model: TimmModel, name: str, depth: int) -> TimmModel:
    """Remove the layers after feature map number `depth`, which becomes the model's output."""
    info = getattr(model, "feature_info", None) or []
    entries = list(getattr(info, "info", info))
    prune = getattr(model, "prune_intermediate_layers", None)
    if prune is None or depth > len(entries):
        raise ModelOptionError(
            "backbone", f"timm:{name}@{depth}", f"cannot truncate it there, it has {len(entries)} maps; {SUGGESTION}"
        )
    prune([depth - 1], prune_norm=True, prune_head=True)
    model.feature_info = entries[:depth]
    return model


def create_timm(name: str, *, output_stride: int | None, pretrained: bool = False, **form: Any) -> Any:
    """Build the timm model `name`; NAME@4 is the model truncated after its fourth feature map.

    output_stride: of convolutional models, None: their own. A transformer has its own, see check_stride, and accepts
    images of any size. form: further arguments of timm.create_model, which decide whether the result is a TimmModel or
    a feature getter around one. Raises ModelOptionError for unknown names, unsupported strides and weights that cannot
    be downloaded.
    """
    name, depth = split_name(name)
    if depth is not None and form.get("features_only"):
        wanted = form.get("out_indices", range(depth))
        form["out_indices"], depth = tuple(depth - 1 if index == -1 else index for index in wanted), None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean {', '.join(near)}?" if near else SUGGESTION
        raise ModelOptionError("backbone", f"timm:{name}", f"timm has no such model: {hint}")
    fixed = any_size(name)
    if fixed:
        form |= fixed
    elif output_stride not in (None, COARSEST):  # the default of every model, and many do not accept the argument
        form["output_stride"] = output_stride
    try:
        model: Any = timm.create_model(name, pretrained=pretrained, **form)
    except OSError as error:  # before ValueError: some failed downloads are both
        if not pretrained:
            raise
        raise ModelOptionError(
            "pretrained",
            f"timm:{name}",
            f"its weights cannot be downloaded ({error}): "
            "without a network give their file (.safetensors, .pth) or package:NAME",
        ) from error
    except (TypeError, NotImplementedError, AssertionError, RuntimeError, AttributeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        if fixed:
            raise ModelOptionError(
                "backbone", f"timm:{name}", f"it cannot be built for maps ({reason}); {SUGGESTION}"
            ) from error
        raise ModelOptionError(
            "output_stride", output_stride, f"timm:{name} cannot be built with it ({reason}); {SUGGESTION}, or use 32"
        ) from error
    crop_outputs(model)
    return model if depth is None else cut(model, name, depth)


def check_stride(name: str, wanted: int | None, stride: int) -> None:
    """Raises ModelOptionError if another output stride is wanted than a transformer has."""
    if wanted not in (None, stride) and any_size(name):
        raise ModelOptionError(
            "output_stride",
            wanted,
            f"timm:{name} is a transformer with a stride of {stride}: give that, or omit the option",
        )


@torch.no_grad()
def measure(
    model: nn.Module,
    maps_of: Callable[[Tensor], Sequence[Tensor]],
    *,
    name: str,
    channels: Sequence[int | None],
    multiple: int = 1,
) -> FeatureLayout:
    """Measure the layout of the maps that maps_of(images (N, 3, H, W)) returns, coarsest last.

    channels: of each map, None where unknown. multiple: what maps_of pads image sides to. Raises ModelOptionError if
    the maps are not (N, C, h, w), or if the model fails on images of some size, or leaves a border of them out, even
    when they are padded.
    """
    training = model.training
    model.eval()
    try:
        whole = WHOLE if WHOLE[0] % multiple == 0 else (4 * multiple, 4 * multiple)
        maps = _attempt(maps_of, whole)
        if isinstance(maps, Exception):
            raise ModelOptionError(
                "backbone", name, f"it fails on a {_pixels(whole)} image ({_reason(maps)}); {SUGGESTION}"
            )
        fits = len(maps) == len(channels) and all(
            x.ndim == 4 and x.shape[2] == x.shape[3] and c in (None, x.shape[1])
            for x, c in zip(maps, channels, strict=True)
        )
        if not fits:
            raise ModelOptionError("backbone", name, f"its maps are not laid out as (N, C, H, W); {SUGGESTION}")
        if whole[1] % maps[-1].shape[-1]:  # no stride divides the image into so many positions
            raise ModelOptionError("backbone", name, f"{_border(whole)}; {SUGGESTION}")
        strides = [whole[1] // x.shape[-1] for x in maps]
        multiple = _multiple(maps_of, strides, name, multiple)
    finally:
        model.train(training)
    return FeatureLayout(maps[-1].shape[1], strides[-1], multiple)


def _multiple(maps_of: Callable[[Tensor], Sequence[Tensor]], strides: Sequence[int], name: str, multiple: int) -> int:
    """Return the least multiple to which images must be padded so that maps of those strides cover all of them.

    That is 1 for most models, the stride for those that drop what does not fill one, and COARSEST for those that
    combine maps of several strides.
    """
    usable, problem = None, ""
    for candidate in sorted({multiple, math.lcm(multiple, strides[-1]), math.lcm(multiple, COARSEST)}):
        covered = True
        for size in ODD:
            height, width = (side + -side % candidate for side in size)
            maps = _attempt(maps_of, (height, width))
            if isinstance(maps, Exception):
                problem = f"it fails on a {_pixels((height, width))} image ({_reason(maps)})"
                break
            expected = [(-(-height // stride), -(-width // stride)) for stride in strides]
            found = [tuple(x.shape[2:]) for x in maps]
            covered &= found == expected
            if found[-1] != expected[-1]:  # its maps would be stretched over the image
                problem = _border((height, width))
                break
        else:
            if covered:
                return candidate
            usable = usable or candidate
    if usable is None:
        raise ModelOptionError("backbone", name, f"{problem}; {SUGGESTION}")
    return usable  # finer maps of models without padding inside, which only refine the last one, may miss a few pixels


def _attempt(maps_of: Callable[[Tensor], Sequence[Tensor]], size: Sequence[int]) -> Sequence[Tensor] | Exception:
    try:
        return maps_of(torch.zeros(1, 3, *size))
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        return error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _border(size: Sequence[int]) -> str:
    return f"its maps leave a border of a {_pixels(size)} image out"


def _pixels(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"


def padded(images: Tensor, multiple: int) -> Tensor:
    """Pad images (N, C, H, W) with zeros (the mean colour) at the right and bottom to multiples of `multiple`."""
    height, width = images.shape[2:]
    return images if multiple == 1 else F.pad(images, (0, -width % multiple, 0, -height % multiple))


def cropped(maps: Tensor, padded_images: Tensor, images: Tensor) -> Tensor:
    """Crop maps (N, C, h, w) of the padded images to the area of the original images."""
    if padded_images.shape == images.shape:
        return maps
    stride = padded_images.shape[2] // maps.shape[2]
    # rounded up without negative numbers, which an exported network would round towards zero
    height, width = ((side + stride - 1) // stride for side in images.shape[2:])
    return maps[:, :, :height, :width]
