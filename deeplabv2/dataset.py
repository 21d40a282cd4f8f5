"""Training samples: a scaled, cropped, perhaps mirrored image and its labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from deeplabv2.input_format import InputFormat
from utils.data.catalog import IGNORE_INDEX
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, read_rgb
from utils.runtime.seeds import derived_seed


class SegmentationDataset(Dataset):
    """Samples addressed by (epoch, index): their randomness follows from (seed, epoch, index) and nothing else."""

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        files: Mapping[str, Path],
        label_dir: Path,
        *,
        scales: Sequence[float],
        base_size: int | None,
        crop_size: int,
        flip: float,
        input_format: InputFormat,
        seed: int,
    ) -> None:
        self.entries, self.files, self.label_dir = entries, files, label_dir
        self.scales, self.base_size, self.seed = tuple(scales), base_size, seed
        self.input_format = input_format
        self.crop = v2.Compose(
            [
                # in float, as the colour of the padding has fractions
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}),
                v2.RandomCrop(
                    crop_size,
                    pad_if_needed=True,
                    fill={tv_tensors.Image: list(input_format.fill), tv_tensors.Mask: IGNORE_INDEX},
                ),
                v2.RandomHorizontalFlip(flip),
            ]
        )

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        """images (3, S, S) as the network takes them; labels (S, S) long, 255 is ignored."""
        epoch, index = key
        name = self.entries[index].name
        image = tv_tensors.Image(functional.pil_to_tensor(read_rgb(self.files[name])))
        labels = tv_tensors.Mask(torch.tensor(read_label(self.label_dir / f"{name}.png"))[None])
        # transforms draw from the CPU's global generator: it is lent to the sample and put back
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also move the GPU's generator, which dropout draws from
            torch.default_generator.manual_seed(derived_seed(self.seed, epoch, index))
            image, labels = self.crop(*self._scaled(image, labels))
        return {
            "images": self.input_format.prepare(image.as_subclass(Tensor)),
            "labels": labels.as_subclass(Tensor)[0].long(),
        }

    def _scaled(self, image: tv_tensors.Image, labels: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Both by one of the scales, of the image's own size or of the longer side base_size; labels by nearest."""
        factor = self.scales[int(torch.randint(len(self.scales), ()))]
        if self.base_size:
            factor *= self.base_size / max(image.shape[-2:])
        size = [max(1, int(side * factor)) for side in image.shape[-2:]]
        if size == list(image.shape[-2:]):
            return image, labels
        # without antialiasing, as the multi-scale network resizes its input
        return (
            functional.resize(image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=False),
            functional.resize(labels, size, interpolation=v2.InterpolationMode.NEAREST_EXACT),
        )
