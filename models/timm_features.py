"""Any convolutional timm model as a feature extractor: build, measure, and pad images to the size it needs."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import ModelOptionError

SUGGESTION = "choose a convolutional model that can be dilated, such as tf_efficientnet_lite0 or resnet50"
# (height, width) in pixels: divisible by every stride that timm offers, and by none of them
PROBES = ((64, 64), (75, 93))
COARSEST = 32  # every convolutional timm model accepts multiples of it


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


class TimmModel(nn.Module):
    """Type annotation for timm models, which do not inherit from it: attributes that nn.Module does not have."""

    feature_info: Any
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


def create_timm(name: str, *, output_stride: int, pretrained: bool = False, **form: Any) -> Any:
    """Build the timm model `name`; NAME@4 is the model truncated after its fourth feature map.

    form: further arguments of timm.create_model, which decide whether the result is a TimmModel or a feature getter
    around one. Raises ModelOptionError for unknown names, unsupported strides and weights that cannot be downloaded.
    """
    name, depth = split_name(name)
    if depth is not None and form.get("features_only"):
        wanted = form.get("out_indices", range(depth))
        form["out_indices"], depth = tuple(depth - 1 if index == -1 else index for index in wanted), None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean {', '.join(near)}?" if near else SUGGESTION
        raise ModelOptionError("backbone", f"timm:{name}", f"timm has no such model: {hint}")
    if output_stride != COARSEST:  # the default of every model, and many do not accept the argument
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
        raise ModelOptionError(
            "output_stride", output_stride, f"timm:{name} cannot be built with it ({reason}); {SUGGESTION}, or use 32"
        ) from error
    return model if depth is None else cut(model, name, depth)


@torch.no_grad()
def measure(
    model: nn.Module, maps_of: Callable[[Tensor], Sequence[Tensor]], *, name: str, channels: Sequence[int | None]
) -> FeatureLayout:
    """Measure the layout of the maps that maps_of(images (N, 3, H, W)) returns, coarsest last.

    channels: of each map, None where unknown. Raises ModelOptionError if the maps are not (N, C, h, w), or if the model
    fails on images that are not a multiple of its stride even when they are padded.
    """
    training = model.training
    model.eval()
    try:
        maps = _attempt(maps_of, PROBES[0])
        if isinstance(maps, Exception):
            raise ModelOptionError("backbone", name, f"it fails on a {_pixels(PROBES[0])} image ({maps}); {SUGGESTION}")
        fits = len(maps) == len(channels) and all(
            x.ndim == 4 and x.shape[2] == x.shape[3] and c in (None, x.shape[1])
            for x, c in zip(maps, channels, strict=True)
        )
        if not fits:
            raise ModelOptionError("backbone", name, f"its maps are not laid out as (N, C, H, W); {SUGGESTION}")
        multiple = _multiple(maps_of, name)
    finally:
        model.train(training)
    return FeatureLayout(maps[-1].shape[1], PROBES[0][1] // maps[-1].shape[-1], multiple)


def _multiple(maps_of: Callable[[Tensor], Sequence[Tensor]], name: str) -> int:
    """Return 1 if the model accepts images of any size, COARSEST if they must be padded to multiples of it."""
    failed = _attempt(maps_of, PROBES[1])
    if not isinstance(failed, Exception):
        return 1
    whole = tuple(side + -side % COARSEST for side in PROBES[1])
    if isinstance(_attempt(maps_of, whole), Exception):
        raise ModelOptionError(
            "backbone", name, f"it fails on a {_pixels(PROBES[1])} image, padded or not ({failed}); {SUGGESTION}"
        )
    return COARSEST


def _attempt(maps_of: Callable[[Tensor], Sequence[Tensor]], size: Sequence[int]) -> Sequence[Tensor] | Exception:
    try:
        return maps_of(torch.zeros(1, 3, *size))
    except (AssertionError, RuntimeError, ValueError) as error:
        return error


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
    return maps[:, :, : -(-images.shape[2] // stride), : -(-images.shape[3] // stride)]
