"""The input format of a network: channel order, scale, mean and standard deviation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from utils.runtime.device import to_device

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class InputFormat:
    """input = (image * scale - mean) / std for an image in 0..255; all in the order `channel_order`."""

    channel_order: Literal["RGB", "BGR"]
    scale: float
    mean: Rgb
    std: Rgb

    def prepare(self, rgb: Tensor) -> Tensor:
        """Convert RGB (..., 3, H, W) in 0..255, uint8 or float, to the network's input, float32 of the same shape."""
        image = rgb.to(torch.float32)
        if self.channel_order == "BGR":
            image = image.flip(-3)
        mean, std = (to_device(torch.tensor(values), image.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (image * self.scale - mean) / std

    def prepare_batch(self, images: np.ndarray, device: torch.device) -> Tensor:
        """Convert images (N, H, W, 3) uint8 RGB to the network's input on the device, (N, 3, H, W) float32."""
        return self.prepare(to_device(torch.from_numpy(images), device).permute(0, 3, 1, 2))

    @property
    def fill(self) -> Rgb:
        """The colour (RGB, 0..255) that becomes 0; it fills the area outside an image."""
        return self._to_network_order([value / self.scale for value in self.mean])

    def with_mean(self, rgb: Sequence[float] | None) -> Self:
        """Return the same format with another mean, given as RGB in 0..255. None keeps it."""
        if rgb is None:
            return self
        return replace(self, mean=self._to_network_order([value * self.scale for value in rgb]))

    def _to_network_order(self, values: Sequence[float]) -> Rgb:
        """Convert three channels from RGB to the network's order or back, which is the same operation."""
        first, second, third = values if self.channel_order == "RGB" else reversed(values)
        return first, second, third


def scaled_rgb(mean: Rgb, std: Rgb) -> InputFormat:
    """Return the format of torchvision and timm: (RGB in 0..1 - mean) / std."""
    return InputFormat("RGB", 1 / 255, mean, std)


# of the Caffe models from which the published weights were converted
CAFFE = InputFormat("BGR", 1.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0))
IMAGENET = scaled_rgb((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
