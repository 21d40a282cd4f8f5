"""Training samples: an image and its labels, randomly scaled, cropped, mirrored and recoloured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from deeplabv2.input_format import InputFormat
from deeplabv2.pasting import ObjectPaster
from utils.data.catalog import IGNORE_INDEX
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, read_rgb, resize_by_pil
from utils.data.kept import Kept
from utils.runtime.seeds import seeded


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images.

    scales: factors on the image's size. draw: "listed" draws one of them, "between" any factor from the smallest to the
    largest, log-uniformly. base_size: longer side in pixels at a factor of 1; None is the image's own. jitter: strength
    of the changes of brightness, contrast and saturation, as in ColorJitter.
    """

    scales: Sequence[float]
    base_size: int | None
    crop_size: int
    flip: float
    draw: Literal["listed", "between"] = "listed"
    jitter: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gray: float = 0.0

    def factor(self) -> float:
        """Draw a factor from torch's global generator."""
        if self.draw == "listed":
            return self.scales[int(torch.randint(len(self.scales), ()))]
        least, largest = math.log(min(self.scales)), math.log(max(self.scales))
        return math.exp(least + (largest - least) * torch.rand(()).item())


class SegmentationDataset(Dataset):
    """Samples by (epoch, index). Their randomness depends only on (seed, epoch, index)."""

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        files: Mapping[str, Path],
        label_dir: Path,
        *,
        augmentation: Augmentation,
        input_format: InputFormat,
        seed: int,
        weights: Mapping[str, float] | None = None,
        paster: ObjectPaster | None = None,
    ) -> None:
        """weights: name -> weight of an image in the loss; without them samples have none.

        paster: changes image and label before they are scaled.
        """
        self.paster = paster
        self.kept: Kept[tuple[np.ndarray, np.ndarray]] = Kept()
        self.weights = weights
        self.entries, self.files, self.label_dir = entries, files, label_dir
        self.augmentation, self.input_format, self.seed = augmentation, input_format, seed
        self.recolour = _recolour(augmentation)
        self.crop = v2.Compose(
            [
                # float, because the padding colour is not an integer
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}),
                # pads both sides before cropping at random, so a small image gets a random position
                v2.RandomCrop(
                    augmentation.crop_size,
                    pad_if_needed=True,
                    fill={tv_tensors.Image: list(input_format.fill), tv_tensors.Mask: IGNORE_INDEX},
                ),
                v2.RandomHorizontalFlip(augmentation.flip),
            ]
        )

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an image (H, W, 3) uint8 RGB and its label (H, W) uint8, which must not be changed."""
        return self.kept.get(name, lambda: self._decoded(name))

    def _decoded(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return np.array(read_rgb(self.files[name])), read_label(self.label_dir / f"{name}.png")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        """Return images (3, S, S) for the network, labels (S, S) long, 255 is ignored, and weights () if any."""
        epoch, index = key
        name = self.entries[index].name
        pixels, label = self.read(name)
        if self.paster:
            rng = np.random.default_rng((self.seed, epoch, index))
            pixels, label = self.paster(pixels, label, rng, read=self.read)
        image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))
        labels = tv_tensors.Mask(torch.tensor(label)[None])
        with seeded(self.seed, epoch, index):
            image, labels = self._scaled(image, labels)
            if self.recolour:
                # crop before recolouring, so that the padding keeps its fixed colour
                inside = [min(side, self.augmentation.crop_size) for side in image.shape[-2:]]
                image, labels = v2.RandomCrop(inside)(image, labels)
                # colour transforms expect floats in 0..1
                image = self.recolour(tv_tensors.wrap(image.round().to(torch.uint8), like=image))
            image, labels = self.crop(image, labels)
        sample = {
            "images": self.input_format.prepare(image.as_subclass(Tensor)),
            "labels": labels.as_subclass(Tensor)[0].long(),
        }
        return sample if self.weights is None else {**sample, "weights": torch.tensor(self.weights[name])}

    def _scaled(self, image: tv_tensors.Image, labels: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Scale both by a random factor, relative to the image's size or to base_size; labels by nearest neighbour."""
        factor, base_size = self.augmentation.factor(), self.augmentation.base_size
        if base_size:
            factor *= base_size / max(image.shape[-2:])
        size = [max(1, int(side * factor)) for side in image.shape[-2:]]
        if size == list(image.shape[-2:]):
            return image, labels
        nearest = resize_by_pil(labels[0].numpy(), size, Image.Resampling.NEAREST)
        return _resized(image, size, antialias=bool(base_size)), tv_tensors.Mask(torch.from_numpy(nearest)[None])


def _resized(image: tv_tensors.Image, size: list[int], *, antialias: bool) -> tv_tensors.Image:
    """Resize (3, H, W) uint8 -> (3, *size). Without antialiasing: float32 with OpenCV, as published.

    With antialiasing: for photographs that are first scaled to a common size, like in testing.
    """
    if antialias:
        return functional.resize(image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
    pixels = image.permute(1, 2, 0).numpy().astype(np.float32)
    resized = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return tv_tensors.Image(torch.from_numpy(resized).permute(2, 0, 1))


def _recolour(augmentation: Augmentation) -> v2.Transform | None:
    """Build the colour transforms, or None, so that samples without them draw the same random numbers as before."""
    if not any(augmentation.jitter) and not augmentation.gray:
        return None
    brightness, contrast, saturation = augmentation.jitter
    jitter = v2.ColorJitter(brightness=brightness, contrast=contrast, saturation=saturation)
    return v2.Compose([jitter, v2.RandomGrayscale(augmentation.gray)])
