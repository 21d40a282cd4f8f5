"""Build any CAM network and load its weights."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from models.attention import attention_names
from models.cam_head import CamNet
from models.errors import Misfit, ModelOptionError, WeightsError
from models.padding import Padding, set_padding
from models.resnet38 import ResNet38Cam
from models.weights import WEIGHT_SETS, fit, tensors_in


def build_cam_net(
    backbone: str,
    num_classes: int,
    *,
    attention: str = "none",
    suppression: str = "none",
    suppression_stages: Sequence[int] = (6, 7),
    width: float = 1.0,
    output_stride: int | None = None,
    pretrained: bool = False,
    dropout: tuple[float, float] = (0.3, 0.5),
    padding: Padding = "zeros",
) -> CamNet:
    """Build a network: image (N, 3, H, W) -> CamOutput(cams (N, C + 1, h, w), scores (N, C)).

    backbone: "resnet38", "timm:NAME", or "timm:NAME@4" for a model truncated after its fourth feature map.
    width: scales the channels of resnet38. pretrained: download ImageNet weights through timm. dropout: rates of
    resnet38's stages 6 and 7. padding: padding of the convolutions, zeros (published) or replicate.
    Raises ModelOptionError for values that the backbone does not support.
    """
    if num_classes < 1:
        raise ModelOptionError(
            "num_classes", num_classes, "expected at least one object class, not counting background"
        )
    attention_names(attention)
    options: dict[str, Any] = {
        "attention": attention,
        "suppression": suppression,
        "suppression_stages": tuple(suppression_stages),
    }
    net: CamNet
    if backbone.startswith("timm:"):
        if width != 1.0:
            raise ModelOptionError(
                "width", width, f"only resnet38 can be scaled: choose a smaller timm model than {backbone}"
            )
        from models.timm_backbone import TimmCam  # here: timm takes a second to import

        name = backbone.removeprefix("timm:")
        net = TimmCam(name, num_classes, output_stride=output_stride, pretrained=pretrained, **options)
    elif backbone != "resnet38":
        raise ModelOptionError(
            "backbone", backbone, "expected resnet38 or timm:NAME, such as timm:tf_efficientnet_lite0"
        )
    elif output_stride not in (None, ResNet38Cam.output_stride):
        raise ModelOptionError(
            "output_stride", output_stride, "resnet38 supports 8 only; use a timm backbone for other strides"
        )
    elif pretrained:
        raise ModelOptionError("pretrained", pretrained, "resnet38 has no downloadable weights: give its ImageNet file")
    else:
        net = ResNet38Cam(num_classes, width=width, dropout=dropout, **options)
    set_padding(net, padding)
    return net


def load_weights(net: nn.Module, state: Mapping[str, Any], *, which: str = "state_dict") -> None:
    """Load the weights of a complete network, strictly.

    state: a state dict, or a checkpoint with the keys "state_dict" (global network) and "local_dict" (local network).
    which: the key to load. Names may share a prefix such as `module.`. Raises WeightsError.
    """
    if which not in WEIGHT_SETS:
        raise ModelOptionError("which", which, f"expected one of {', '.join(WEIGHT_SETS)}")
    network = getattr(net, "backbone_name", "this network")
    if which != "state_dict" and which not in state:
        raise WeightsError(network, f"they are of a single network, without {which}", "use the global network")
    given = tensors_in(state, which=which, network=network)
    net.load_state_dict(fit(net.state_dict(), given, network=network, exact=True, explain=_likely_reason), strict=False)


def _likely_reason(misfit: Misfit) -> str:
    names, differing = [*misfit.missing, *misfit.unexpected], []
    if any("DRS_" in name for name in names):
        differing.append("suppression or suppression_stages")
    if any("_layer." in name and "DRS_" not in name for name in names):
        differing.append("attention")
    if misfit.misshapen and all(entry.startswith("fc8.") for entry in misfit.misshapen):
        differing.append("num_classes")
    if not differing:
        differing.append("backbone or width")
    return f"build the network with the options it was trained with: {' and '.join(differing)} differ"
