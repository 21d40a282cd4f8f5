"""The options of scripts/convert_weights.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConvertOptions:
    """Convert weights to a .pth file."""

    weights: str
    """A .params, .safetensors or .pth file."""
    out: str
    """The .pth file to write."""
