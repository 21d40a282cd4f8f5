"""Training samples: an image crop with saliency, tags and patch boxes, and the image's pasted twin."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from utils.copy_paste.pasting import Paster
from utils.data.check import ImageFiles, inspect_before_training, summary
from utils.data.image_list import ImageEntry
from utils.data.images import find_image, image_files, missing_files, read_gray, read_rgb, resize_by_pil
from utils.data.kept import Kept
from utils.errors import UserError
from utils.runtime.seeds import seeded

SampleKey = tuple[int, int, bool]  # epoch, index, is the pasted twin
PLAIN, TWIN = False, True
# which samples of each image a batch contains
COMPOSITIONS = {"plain": (PLAIN,), "pair": (PLAIN, TWIN), "twin": (TWIN,)}
# PIL's filters for images and saliency maps, as published for VOC and COCO
FILTERS = {
    "bicubic": (Image.Resampling.BICUBIC, Image.Resampling.NEAREST),
    "bilinear": (Image.Resampling.BILINEAR, Image.Resampling.BILINEAR),
}


def resized_size(size: tuple[int, int], resize: int, mode: str) -> tuple[int, int]:
    """Return (h, w) before the crop. square: both sides are `resize`; short: the short one is, the other is rounded."""
    if mode == "square":
        return resize, resize
    height, width = size
    return (resize, round(resize * width / height)) if height < width else (round(resize * height / width), resize)


def patch_boxes(size: int, crop: int, count: int, *, corners: bool, generator: torch.Generator) -> Tensor:
    """Place `count` square patches of side `crop` in a square of side `size` -> (count, 4) long, x0 y0 x1 y1.

    corners: put the first four in the corners. L2G, sec. 3.1.
    """
    far = size - crop
    places = torch.tensor([[0, 0], [0, far], [far, 0], [far, far]] if corners else []).long().reshape(-1, 2)
    extra = torch.randint(0, far + 1, (count - len(places), 2), generator=generator)
    places = torch.cat([places, extra])
    return torch.cat([places, places + crop], dim=1)


def multi_hot(tags: Sequence[int], num_classes: int) -> Tensor:
    """Return (num_classes,) float32: 1 for the zero-based tags, else 0."""
    row = torch.zeros(num_classes)
    row[list(tags)] = 1
    return row


@dataclass(frozen=True)
class SampleRecipe:
    """Parameters of a sample: sizes in pixels, colours, mean and standard deviation in 0..1; see TrainOptions."""

    num_classes: int
    resize: int
    input_size: int
    crop_size: int
    num_patches: int
    seed: int
    mean: Sequence[float]
    std: Sequence[float]
    resize_mode: str = "short"
    resampling: str = "bicubic"
    corner_patches: bool = True
    color_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    flip: float = 0.0


SampleArrays = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # image, saliency, pasted pixels


class L2GDataset(Dataset):
    """Samples by (epoch, index, twin). Their randomness depends only on these and the seed.

    With a paster, an image's twin contains an object of a class that the image does not show. The object's tag is added
    if at least the fraction `min_visible` of its pixels is inside the union of the patches.
    """

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        image_dir: Path,
        sal_dir: Path | None,
        recipe: SampleRecipe,
        *,
        paster: Paster | None = None,
        min_visible: float = 0.0,
    ) -> None:
        self.entries, self.image_dir, self.sal_dir = entries, image_dir, sal_dir
        self.recipe, self.paster, self.min_visible = recipe, paster, min_visible
        self.filters = FILTERS[recipe.resampling]
        self.kept: Kept[SampleArrays] = Kept()  # resized, without their twins
        self._last_read: tuple[int, np.ndarray, np.ndarray | None] | None = None
        self.transform = v2.Compose(
            [
                v2.RandomCrop(recipe.input_size),
                v2.RandomHorizontalFlip(recipe.flip),
                v2.ColorJitter(*recipe.color_jitter),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize(list(recipe.mean), list(recipe.std)),
            ]
        )

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        """Return images (3, S, S) normalised, tags (C,) multi-hot, boxes (P, 4), and any saliency (1, S, S) in 0..1."""
        epoch, index, is_twin = key
        tags, mask, pasted_tag = self.entries[index].tags, None, None
        seed = (self.recipe.seed, epoch, index, 1) if is_twin else (self.recipe.seed, epoch, index)
        if is_twin:
            if self.paster is None:
                raise ValueError("a pasted twin needs a paster")
            twin = self.paster(*self._read(index), tags, rng=np.random.default_rng(seed))
            mask, pasted_tag = twin.mask, twin.tag
            arrays = self._resized(twin.image, twin.saliency, mask)
        else:
            arrays = self.kept.get(index, lambda: self._resized(*self._read(index), None))
        resized_image, resized_saliency, resized_mask = _as_transformed(*arrays)
        with seeded(*seed):
            image, saliency, mask = self.transform(resized_image, resized_saliency, resized_mask)
            boxes = patch_boxes(
                self.recipe.input_size,
                self.recipe.crop_size,
                self.recipe.num_patches,
                corners=self.recipe.corner_patches,
                generator=torch.default_generator,
            )
        if pasted_tag is not None and resized_mask is not None:
            share = visible_share(mask[0], boxes, whole=resized_mask.sum())
            if share > 0 and share >= self.min_visible:
                tags = (*tags, pasted_tag)
        sample = {"images": image.as_subclass(Tensor), "tags": multi_hot(tags, self.recipe.num_classes), "boxes": boxes}
        if saliency is not None:
            sample["saliency"] = saliency.as_subclass(Tensor).float() / 255
        return sample

    def example(self, count: int) -> dict[str, Tensor]:
        """Return a batch of `count` dummy samples with the shapes and types of real ones."""
        recipe, side = self.recipe, self.recipe.input_size
        batch = {
            "images": torch.zeros(count, 3, side, side),
            "tags": torch.zeros(count, recipe.num_classes),
            "boxes": torch.zeros(count, recipe.num_patches, 4).long(),
        }
        if self.sal_dir is not None:
            batch["saliency"] = torch.zeros(count, 1, side, side)
        return batch

    def _resized(self, image: np.ndarray, saliency: np.ndarray | None, mask: np.ndarray | None) -> SampleArrays:
        """Resize before the crop: image (h, w, 3), saliency (h, w) and pasted pixels (h, w), uint8."""
        size = resized_size(image.shape[:2], self.recipe.resize, self.recipe.resize_mode)
        return (
            resize_by_pil(image, size, self.filters[0]),
            None if saliency is None else resize_by_pil(saliency, size, self.filters[1]),
            None if mask is None else resize_by_pil(mask.astype(np.uint8), size, Image.Resampling.NEAREST),
        )

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return image (H, W, 3) and saliency (H, W), read-only. Cached, so an image and its twin are read once."""
        if self._last_read is None or self._last_read[0] != index:
            name = self.entries[index].name
            image = np.array(read_rgb(find_image(self.image_dir, name)))
            self._last_read = index, image, self._read_saliency(name, image.shape[:2])
        return self._last_read[1:]

    def _read_saliency(self, name: str, size: tuple[int, int]) -> np.ndarray | None:
        if self.sal_dir is None:
            return None
        path = find_image(self.sal_dir, name)
        saliency = np.array(read_gray(path))
        if saliency.shape != size:
            raise UserError(f"is {saliency.shape}, its image {size}", path, "expected equal sizes")
        return saliency


def _as_transformed(
    image: np.ndarray, saliency: np.ndarray | None, mask: np.ndarray | None
) -> tuple[tv_tensors.Image, tv_tensors.Mask | None, tv_tensors.Mask | None]:
    """Return what the transforms take: image (3, h, w), saliency (1, h, w) and pasted pixels (1, h, w) bool."""
    return (
        tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
        None if saliency is None else tv_tensors.Mask(torch.from_numpy(saliency)[None]),
        None if mask is None else tv_tensors.Mask(torch.from_numpy(mask)[None].bool()),
    )


def visible_share(pasted: Tensor, boxes: Tensor, *, whole: Tensor) -> float:
    """Return the fraction of `whole` pasted pixels inside the patches. pasted (S, S) bool of the crop, boxes (P, 4)."""
    shown = torch.zeros_like(pasted)
    for x0, y0, x1, y1 in boxes.tolist():
        shown[y0:y1, x0:x1] = True
    return ((shown & pasted).sum() / whole.clamp(min=1)).item()


def check_files(entries: Sequence[ImageEntry], image_dir: Path, sal_dir: Path | None) -> list[str]:
    """Return one line per folder with missing images or saliency maps of the list; [] if none are missing."""
    problems = []
    for what, folder in (("images", image_dir), ("saliency maps (or train with --sal_dir=none)", sal_dir)):
        if folder is None:
            continue
        problems += missing_files(what, folder, [entry.name for entry in entries])
    return problems


def check_headers(entries: Sequence[ImageEntry], image_dir: Path, sal_dir: Path | None) -> list[str]:
    """Return one line per fault of existing files: not an image, or a map of another size. Decodes only a few files."""
    images, maps = (image_files(folder) if folder and folder.is_dir() else {} for folder in (image_dir, sal_dir))
    listed = [entry.name for entry in entries if entry.name in images]
    return summary(inspect_before_training([ImageFiles(name, images[name], maps.get(name)) for name in listed]))
