"""What convolutions see beyond the border of their maps."""

from typing import Literal, get_args

from torch import nn

from models.errors import ModelOptionError

Padding = Literal["zeros", "replicate"]
PADDINGS = get_args(Padding)


def set_padding(network: nn.Module, padding: Padding) -> None:
    """Make the padded convolutions see zeros, or their map's outermost values, beyond the border.

    Zeros look like an edge: on a uniform area each dilated layer repeats the border as many cells inside as its
    dilation, and a softmax between nearly equal classes makes stripes of it. Weights and their names do not change.
    """
    if padding not in PADDINGS:
        raise ModelOptionError("padding", padding, f"expected one of {', '.join(PADDINGS)}")
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = padding
