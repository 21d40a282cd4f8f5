"""The options of scripts/benchmark."""

from dataclasses import dataclass
from typing import Literal

from utils.config.options.method import NetworkOptions, TransferOptions
from utils.config.options.train import CamSettings
from utils.config.valid import Count, Factors, Pixels, Seed, Width


@dataclass(frozen=True)
class BenchmarkOptions:
    """Compare this project's hot paths with plain implementations, on this machine."""

    only: (
        Literal["cams", "scoring", "labels", "programs", "pasting", "samples", "crf", "segmentation", "scale"] | None
    ) = None
    """Section to run; default all but scale, which runs every program on datasets of growing size."""
    width: Width = NetworkOptions.width
    """Multiplier of the channels of ResNet-38."""
    size: tuple[Pixels, Pixels] = (375, 500)
    """Height and width of the images, pixels."""
    scales: Factors = CamSettings.cam_scales
    """Factors on the image's size; every scale is used plain and mirrored."""
    images: Count = 200
    """Number of images to score and to label."""
    object_size: tuple[Pixels, Pixels] = (300, 400)
    """Height and width of the foregrounds to paste, pixels."""
    input_size: Pixels = TransferOptions.input_size
    """Side of the training crop, pixels; resize and patches follow in the published proportions."""
    pastes: Count = 50
    """Number of pastes and of training samples to time."""
    dataset_sizes: tuple[Count, ...] = (100, 1000)
    """Numbers of images of the datasets of --only=scale."""
    stages: tuple[str, ...] | None = None
    """Stages of --only=scale; default all."""
    repeats: Count = 2
    """Measurements of each implementation, in turns; the median is reported."""
    seed: Seed = 0
    """Seed of weights, images and CAMs."""
    out: str | None = None
    """Also write the results to this JSON file."""
