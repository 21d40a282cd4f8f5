"""Images read ahead in worker processes, in batches of one size."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from utils.data.image_list import ImageEntry
from utils.data.images import open_header, read_rgb
from utils.errors import UserError
from utils.files.parallel import start_reader


class _Batches(Dataset):
    """Batches of images of one size, decoded: item -> entries and (N, H, W, 3) uint8, or the error met."""

    def __init__(self, batches: Sequence[Sequence[ImageEntry]], files: Mapping[str, Path]) -> None:
        self.batches, self.files = batches, files

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Sequence[ImageEntry], np.ndarray | UserError]:
        batch = self.batches[index]
        try:
            return batch, np.stack([np.asarray(read_rgb(self.files[entry.name])) for entry in batch])
        except UserError as error:
            return batch, error  # raised in the main process, where it is shown as one line


def _as_is(item: Any) -> Any:
    return item


def read_batches(
    batches: Sequence[Sequence[ImageEntry]], files: Mapping[str, Path], *, num_workers: int
) -> Iterator[tuple[Sequence[ImageEntry], np.ndarray]]:
    """Yields each batch with its images (N, H, W, 3) uint8 RGB, read by num_workers processes (0: this one).

    files: name -> image. Raises UserError where an image cannot be read.
    """
    loader = DataLoader(
        _Batches(batches, files),
        batch_size=None,
        num_workers=num_workers,
        # arrays stay arrays: tensors would need the shared memory that containers are short of
        collate_fn=_as_is,
        worker_init_fn=start_reader,
    )
    for batch, images in loader:
        if isinstance(images, UserError):
            raise images
        yield batch, images


def batches_of_one_size(entries: Sequence[ImageEntry], files: Mapping[str, Path], size: int) -> list[list[ImageEntry]]:
    """Groups of at most `size` images that have the same height and width; list order if size is 1."""
    if size <= 1:
        return [[entry] for entry in entries]
    by_shape: dict[tuple[int, int], list[ImageEntry]] = {}
    for entry in entries:
        by_shape.setdefault(open_header(files[entry.name]).size, []).append(entry)
    groups = (iter(group) for group in by_shape.values())
    return [batch for group in groups for batch in iter(lambda group=group: list(islice(group, size)), [])]
