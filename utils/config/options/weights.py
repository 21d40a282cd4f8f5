"""The options of scripts/convert_weights.py."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ConvertOptions:
    """Convert weights to a .pth file."""

    weights: str
    """A .params, .safetensors or .pth file; with --to=published a checkpoint of either network."""
    out: str
    """The .pth file to write."""
    to: Literal["weights", "published"] = "weights"
    """weights: tensors by name; published: what the published programs read: state_dict, local_dict, epoch and an empty
    optimizer of the classifier, the bare state dict of the segmentation network."""
