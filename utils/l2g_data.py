"""Training samples: an image crop, its saliency, its tags and the boxes of its patches."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision import tv_tensors
from torchvision.transforms import v2

from utils.image_list import ImageEntry
from utils.images import find_image, missing_files, read_gray, read_rgb
from utils.sampling import derived_seed

SampleKey = tuple[int, int]  # epoch, index


def patch_boxes(size: int, crop: int, count: int, *, corners: bool, generator: torch.Generator) -> Tensor:
    """Places `count` square patches of `crop` pixels in a square of `size` -> (count, 4) long, x0 y0 x1 y1.

    With `corners` the first four are the corners. L2G, sec. 3.1.
    """
    far = size - crop
    places = torch.tensor([[0, 0], [0, far], [far, 0], [far, far]] if corners else []).long().reshape(-1, 2)
    extra = torch.randint(0, far + 1, (count - len(places), 2), generator=generator)
    places = torch.cat([places, extra])
    return torch.cat([places, places + crop], dim=1)


class L2GDataset(Dataset):
    """Samples addressed by (epoch, index): their randomness follows from (seed, epoch, index) and nothing else."""

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        image_dir: Path,
        sal_dir: Path | None,
        *,
        num_classes: int,
        resize: int,
        resize_mode: str,
        input_size: int,
        crop_size: int,
        num_patches: int,
        corner_patches: bool,
        color_jitter: tuple[float, float, float, float],
        flip: float,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
    ) -> None:
        self.entries = entries
        self.image_dir = image_dir
        self.sal_dir = sal_dir
        self.num_classes = num_classes
        self.input_size = input_size
        self.crop_size = crop_size
        self.num_patches = num_patches
        self.corner_patches = corner_patches
        self.seed = seed
        self.transform = v2.Compose(
            [
                # masks (the saliency map) are resized by nearest neighbour whatever the interpolation
                v2.Resize(
                    resize if resize_mode == "short" else (resize, resize), interpolation=v2.InterpolationMode.BICUBIC
                ),
                v2.RandomCrop(input_size),
                v2.RandomHorizontalFlip(flip),
                v2.ColorJitter(*color_jitter),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize(list(mean), list(std)),
            ]
        )

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        """images (3, S, S) normalised; tags (C,) multi-hot; boxes (P, 4); saliency (1, S, S) in 0..1, if any."""
        epoch, index = key
        entry = self.entries[index]
        image = tv_tensors.Image(v2.functional.pil_to_tensor(read_rgb(find_image(self.image_dir, entry.name))))
        saliency = self._read_saliency(entry.name, image.shape[-2:])
        # transforms draw from the CPU's global generator: it is lent to the sample and put back
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also move the GPU's generator, which dropout draws from
            torch.default_generator.manual_seed(derived_seed(self.seed, epoch, index))
            image, saliency = self.transform(image, saliency)
            boxes = patch_boxes(
                self.input_size,
                self.crop_size,
                self.num_patches,
                corners=self.corner_patches,
                generator=torch.default_generator,
            )
        tags = torch.zeros(self.num_classes)
        tags[list(entry.tags)] = 1
        sample = {"images": image.as_subclass(Tensor), "tags": tags, "boxes": boxes}
        if saliency is not None:
            sample["saliency"] = saliency.as_subclass(Tensor).float() / 255
        return sample

    def _read_saliency(self, name: str, size: tuple[int, int]) -> tv_tensors.Mask | None:
        if self.sal_dir is None:
            return None
        path = find_image(self.sal_dir, name)
        saliency = tv_tensors.Mask(v2.functional.pil_to_tensor(read_gray(path)))
        if saliency.shape[-2:] != size:
            raise ValueError(f"{path} is {tuple(saliency.shape[-2:])}, its image {tuple(size)}: sizes must agree")
        return saliency


class EpochBatches(Sampler[list[SampleKey]]):
    """The batches of one process in one epoch, shuffled by (seed, epoch): the same global batches however many share.

    A step takes batch_size * accumulate * world_size images; images that do not fill a last step wait for an epoch
    that draws them earlier.
    """

    def __init__(
        self, num_images: int, *, batch_size: int, accumulate: int, rank: int, world_size: int, seed: int
    ) -> None:
        self.num_images, self.batch_size, self.accumulate = num_images, batch_size, accumulate
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.epoch = self.first_step = 0
        if self.steps == 0:
            step = batch_size * accumulate * world_size
            raise ValueError(f"{num_images} images do not fill one step of {step}: lower --batch_size or --accumulate")

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.num_images // (self.batch_size * self.accumulate * self.world_size)

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Chooses the epoch, and the step in it, that the next iteration begins with."""
        self.epoch, self.first_step = epoch, first_step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_images)
        stride = self.batch_size * self.world_size
        for number in range(self.first_step * self.accumulate, self.steps * self.accumulate):
            first = number * stride + self.rank * self.batch_size
            yield [(self.epoch, int(index)) for index in order[first : first + self.batch_size]]


def check_files(entries: Sequence[ImageEntry], image_dir: Path, sal_dir: Path | None) -> list[str]:
    """What is missing of the listed images and their saliency maps, in one line a folder; empty if nothing is."""
    problems = []
    for what, folder in (("images", image_dir), ("saliency maps (or train with --sal_dir=none)", sal_dir)):
        if folder is None:
            continue
        problems += missing_files(what, folder, [entry.name for entry in entries])
    return problems
