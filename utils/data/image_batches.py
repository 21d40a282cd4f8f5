"""Prefetches images in worker processes, in batches of equal size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from utils.data.image_list import ImageEntry
from utils.data.images import open_header, read_rgb
from utils.errors import UserError
from utils.files.parallel import awaited, check_semaphores, start_reader

REMEDY = (
    "give --num_workers=0 (--DATALOADER.NUM_WORKERS=0), or more memory and shared memory (docker run --shm-size=1g)"
)

Size = tuple[int, int]  # height and width, pixels


class ImageBatch(NamedTuple):
    """Images of one size. images: (N, h, w, 3) uint8 RGB. size: (H, W) of the files before resizing."""

    entries: Sequence[ImageEntry]
    images: np.ndarray
    size: Size


class _Batches:
    """Decoded batches of images of one size. An item is the batch, or the error that reading it raised."""

    def __init__(
        self,
        batches: Sequence[Sequence[ImageEntry]],
        files: Mapping[str, Path],
        resize: Callable[[Size], Size] | None,
    ) -> None:
        self.batches, self.files, self.resize = batches, files, resize

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> ImageBatch | UserError:
        batch = self.batches[index]
        try:
            images = [read_rgb(self.files[entry.name]) for entry in batch]
        except UserError as error:
            return error  # raised in the main process, which prints it as one line
        size = images[0].height, images[0].width
        if self.resize is not None:
            height, width = self.resize(size)
            images = [image.resize((width, height), Image.Resampling.BILINEAR) for image in images]
        return ImageBatch(batch, np.stack([np.asarray(image) for image in images]), size)


def _as_is(item: Any) -> Any:
    return item


def read_batches(
    batches: Sequence[Sequence[ImageEntry]],
    files: Mapping[str, Path],
    *,
    num_workers: int,
    resize: Callable[[Size], Size] | None = None,
) -> Iterator[ImageBatch]:
    """Yield each batch with its images, read by num_workers processes (0: in this process).

    files: name -> image path. resize: maps an image's size to its new size. Raises UserError if an image cannot be
    read. Code that uses the batches must be inside worker_ends.
    """
    from torch.utils.data import DataLoader  # here: batches that are read without it need no torch

    check_semaphores(num_workers, remedy=REMEDY)
    loader: Any = DataLoader(
        _Batches(batches, files, resize),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=num_workers,
        # arrays, not tensors: those would need shared memory, which is scarce in containers
        collate_fn=_as_is,
        worker_init_fn=start_reader,
    )
    for batch in awaited(iter(loader)):
        if isinstance(batch, UserError):
            raise batch
        yield batch


def batches_of_one_size(entries: Sequence[ImageEntry], files: Mapping[str, Path], size: int) -> list[list[ImageEntry]]:
    """Group images of equal height and width into batches of at most `size`. Keeps the list's order if size is 1."""
    if size <= 1:
        return [[entry] for entry in entries]
    by_shape: dict[Size, list[ImageEntry]] = {}
    for entry in entries:
        by_shape.setdefault(open_header(files[entry.name]).size, []).append(entry)
    return [group[i : i + size] for group in by_shape.values() for i in range(0, len(group), size)]
