"""Padding of the convolutions at the border of their maps."""

from typing import Literal, get_args

from torch import nn

from models.errors import ModelOptionError

Padding = Literal["zeros", "replicate"]
PADDINGS = get_args(Padding)


def set_padding(network: nn.Module, padding: Padding) -> None:
    """Set the padding mode of all padded convolutions: "zeros" or "replicate" (the outermost values).

    Zeros look like an edge. On a uniform area, each dilated layer repeats the border at a distance of its dilation, and
    a softmax between nearly equal classes turns that into stripes. Weights and their names do not change.
    """
    if padding not in PADDINGS:
        raise ModelOptionError("padding", padding, f"expected one of {', '.join(PADDINGS)}")
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = padding
