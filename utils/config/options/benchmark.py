"""The options of scripts/benchmark."""

from dataclasses import dataclass
from typing import Literal

from utils.config.options.method import NetworkOptions, TransferOptions
from utils.config.options.train import CamSettings
from utils.config.valid import Count, Factors, Pixels, Seed, Width


@dataclass(frozen=True)
class BenchmarkOptions:
    """Compare this project's way with the plain way on this machine."""

    only: Literal["cams", "scoring", "pasting", "samples", "crf", "segmentation"] | None = None
    """One section; default all of them."""
    width: Width = NetworkOptions.width
    """Multiplier of the channels of ResNet-38."""
    size: tuple[Pixels, Pixels] = (375, 500)
    """Height and width of the images, pixels."""
    scales: Factors = CamSettings.cam_scales
    """Factors on the image's size; every scale is used plain and mirrored."""
    images: Count = 200
    """Images that are scored."""
    object_size: tuple[Pixels, Pixels] = (300, 400)
    """Height and width of the foregrounds that are pasted, pixels."""
    input_size: Pixels = TransferOptions.input_size
    """Side of the training crop, pixels; resize and patches follow in the published proportions."""
    pastes: Count = 50
    """Pastes, and training samples, that are timed."""
    repeats: Count = 2
    """Measurements of each way, taken in turns; their median counts."""
    seed: Seed = 0
    """Weights, images and CAMs follow from it."""
    out: str | None = None
    """A JSON file that the rows are also written to."""
