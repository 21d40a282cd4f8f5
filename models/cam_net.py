"""One way to make every CAM network, and one way to load a whole one."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from models.attention import attention_names
from models.cam_head import CamNet, some, strip_prefix
from models.resnet38 import ResNet38Cam
from models.timm_backbone import TimmCam

WEIGHT_SETS = ("state_dict", "local_dict")


def build_cam_net(
    backbone: str,
    num_classes: int,
    *,
    attention: str = "none",
    suppression: str = "none",
    suppression_stages: Sequence[int] = (6, 7),
    width: float = 1.0,
    output_stride: int = 8,
    pretrained: bool = False,
    dropout: tuple[float, float] = (0.3, 0.5),
) -> CamNet:
    """A network from image (N, 3, H, W) to CamOutput(cams (N, C + 1, h, w), scores (N, C)).

    `backbone` is "resnet38" or "timm:NAME". `width` scales the channels of resnet38; `pretrained` lets timm download
    ImageNet weights. `dropout` is the rate of resnet38's stages 6 and 7. Raises ValueError, naming what is legal, for
    anything that the backbone cannot do.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes {num_classes}: give at least one object class (background is added to them)")
    attention_names(attention)
    options: dict[str, Any] = {
        "attention": attention,
        "suppression": suppression,
        "suppression_stages": tuple(suppression_stages),
    }
    if backbone.startswith("timm:"):
        if width != 1.0:
            raise ValueError(f"width {width} is for resnet38: choose a smaller timm model instead of {backbone}")
        name = backbone.removeprefix("timm:")
        return TimmCam(name, num_classes, output_stride=output_stride, pretrained=pretrained, **options)
    if backbone != "resnet38":
        raise ValueError(f"backbone {backbone!r} is not resnet38 or timm:NAME, such as timm:tf_efficientnet_lite0")
    if output_stride != ResNet38Cam.output_stride:
        raise ValueError(f"output_stride {output_stride}: resnet38 has 8 only; other strides need a timm backbone")
    if pretrained:
        raise ValueError("resnet38 has no weights to download: convert its ImageNet file and call load_backbone")
    return ResNet38Cam(num_classes, width=width, dropout=dropout, **options)


def load_weights(net: nn.Module, state: Mapping[str, Any], *, which: str = "state_dict") -> None:
    """Load a whole network, strictly.

    `state` is a state dict (with or without `module.`) or a checkpoint that holds one under "state_dict" (the global
    network) and one under "local_dict"; `which` says which. Raises ValueError, naming what does not fit.
    """
    if which not in WEIGHT_SETS:
        raise ValueError(f"which {which!r} is not one of {', '.join(WEIGHT_SETS)}")
    if any(key in state for key in WEIGHT_SETS):
        if which not in state:
            raise ValueError(f"the checkpoint has no {which}, only {', '.join(map(str, state))}")
        state = state[which]
    elif which != "state_dict":
        raise ValueError(f"this is one network's state dict: it has no {which}")
    given, own = strip_prefix(state), net.state_dict()
    missing, unexpected = [n for n in own if n not in given], [n for n in given if n not in own]
    misfit = [f"{n} {tuple(given[n].shape)} for {tuple(own[n].shape)}" for n in own if _misfits(own[n], given.get(n))]
    if missing or unexpected or misfit:
        raise ValueError(
            f"the weights do not fit the network: missing {some(missing)}; unexpected {some(unexpected)}; "
            f"of another shape {some(misfit)}. {_likely_reason(missing + unexpected, misfit)}"
        )
    net.load_state_dict(given)


def _misfits(own: Tensor, given: Tensor | None) -> bool:
    return given is not None and given.shape != own.shape


def _likely_reason(names: Sequence[str], misfit: Sequence[str]) -> str:
    differing = []
    if any("DRS_" in name for name in names):
        differing.append("suppression or suppression_stages")
    if any("_layer." in name and "DRS_" not in name for name in names):
        differing.append("attention")
    if misfit and all(entry.startswith("fc8.") for entry in misfit):
        differing.append("num_classes")
    if not differing:
        differing.append("backbone or width")
    return f"Build the network with the options it was trained with: {' and '.join(differing)} differ."
