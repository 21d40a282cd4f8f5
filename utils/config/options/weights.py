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
    """weights: tensors by name; published: the format of the published programs: state_dict, local_dict, epoch and an
    empty optimizer for the classifier, the plain state dict for the segmentation network."""
