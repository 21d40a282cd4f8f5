"""Builds segmentation networks by their names in the configuration."""

import re
from collections.abc import Sequence

from deeplabv2.models.resnet101 import PUBLISHED_BLOCKS, DeepLabV2ResNet101
from deeplabv2.models.segmenter import MultiScale, Segmenter, SingleScale
from models.errors import ModelOptionError
from models.freezing import FrozenStages

PUBLISHED_RATES = (6, 12, 18, 24)
PUBLISHED_SCALES = (0.5, 0.75)
LEGAL_NAMES = (
    "DeepLabV2_ResNet101, DeepLabV2_timm:NAME, DeepLabV3Plus_timm:NAME (any timm model with spatial features), "
    "DeepLabV3Plus_ResNet101"
)
NAME_FORM = re.compile(
    r"(?P<published>deeplabv2_resnet101)|(?P<head>deeplabv2|deeplabv3plus)_timm:(?P<timm>\w[\w.@]*?)"
    r"|deeplabv3plus_(?P<encoder>\w+?)",
    re.IGNORECASE,
)

__all__ = ["Segmenter", "build_segmenter"]


def build_segmenter(
    name: str,
    num_labels: int,
    *,
    output_stride: int | None = None,
    atrous_rates: Sequence[int] = PUBLISHED_RATES,
    n_blocks: Sequence[int] = PUBLISHED_BLOCKS,
    scales: Sequence[float] = PUBLISHED_SCALES,
    width: float = 1.0,
    freeze_batch_norm: bool = True,
    frozen_stages: FrozenStages = 0,
    tag_evidence: float = 0.0,
) -> Segmenter:
    """Build a network: images (N, 3, H, W) -> logits (N, num_labels, h, w), a list of them in training mode.

    name: one of LEGAL_NAMES, case-insensitive, with the suffix _MSC for several `scales` and their maximum.
    output_stride: None is the published one, 8, or 16 for DeepLabV3Plus, or a transformer's own. atrous_rates: the
    default stands for DeepLabV3Plus's own. n_blocks, width: only for DeepLabV2_ResNet101. freeze_batch_norm: for
    pretrained weights. frozen_stages: see Segmenter.freeze. tag_evidence: strength, see TagEvidence; 0 is none.
    Raises ModelOptionError naming the valid values.
    """
    if num_labels < 2:
        raise ModelOptionError("num_labels", num_labels, "expected at least two, including background")
    plain = re.sub(r"_msc$", "", name, flags=re.IGNORECASE)
    match = NAME_FORM.fullmatch(plain)
    if match is None:
        raise ModelOptionError("name", name, f"expected one of {LEGAL_NAMES}, each also with the suffix _MSC")
    if not match["published"] and (tuple(n_blocks) != PUBLISHED_BLOCKS or width != 1.0):
        option, value = ("width", width) if width != 1.0 else ("n_blocks", n_blocks)
        raise ModelOptionError(option, value, f"only for DeepLabV2_ResNet101: choose a smaller backbone than {name}'s")
    single = _single_scale(match, num_labels, output_stride, atrous_rates, n_blocks, width)
    if tag_evidence:
        single.add_tag_evidence(tag_evidence)
    net: Segmenter = single
    if plain != name:
        net = MultiScale(single, scales=scales)
    elif tuple(scales) not in ((), PUBLISHED_SCALES):
        raise ModelOptionError("scales", scales, f"{name} has a single scale; {name}_MSC has several")
    return net.freeze(stages=frozen_stages, batch_norm=freeze_batch_norm)


def _single_scale(
    match: re.Match,
    num_labels: int,
    output_stride: int | None,
    atrous_rates: Sequence[int],
    n_blocks: Sequence[int],
    width: float,
) -> SingleScale:
    if match["published"]:
        return DeepLabV2ResNet101(
            num_labels, output_stride=output_stride or 8, atrous_rates=atrous_rates, n_blocks=n_blocks, width=width
        )
    own_rates = {} if tuple(atrous_rates) == PUBLISHED_RATES else {"atrous_rates": atrous_rates}
    if match["timm"]:
        from deeplabv2.models.timm_backbone import DeepLabV2Timm, DeepLabV3PlusTimm

        if match["head"].lower() == "deeplabv2":
            return DeepLabV2Timm(match["timm"], num_labels, output_stride=output_stride, atrous_rates=atrous_rates)
        return DeepLabV3PlusTimm(match["timm"], num_labels, output_stride=output_stride, **own_rates)
    from deeplabv2.models.deeplabv3plus import DeepLabV3Plus

    return DeepLabV3Plus(match["encoder"].lower(), num_labels, output_stride=output_stride or 16, **own_rates)
