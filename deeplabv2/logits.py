"""A network's output for an image on disk, NAME.npz: logits in half precision at the network's resolution.

labels (K,) uint8: those that may be STORED_RATIO times as probable as the strongest one at some pixel
logits (K, h, w) float16
size   (2,) int32: height and width of the image, pixels
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors

# labels below it win nowhere, before or after the CRF
STORED_RATIO = 0.01
WHOLE = 2**24  # values to resize at once; larger maps are resized in blocks of rows
REMEDY = "delete it and run main.py test again"


@dataclass(frozen=True)
class StoredLogits:
    """labels (K,) uint8, logits (K, h, w) float16, size (H, W) of the image in pixels."""

    labels: np.ndarray
    logits: np.ndarray
    size: tuple[int, int]

    def probabilities(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return probabilities (K, H, W) float32 at `size`, default the image's: bilinear, softmax, as published."""
        large = enlarged(torch.from_numpy(self.logits).float(), size or self.size)
        return large.softmax(dim=0).numpy()

    def label(self) -> np.ndarray:
        """Return each pixel's strongest label, (H, W) uint8."""
        return self.labels[strongest(torch.from_numpy(self.logits).float(), self.size)]


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (K, h, w) to (K, H, W) bilinearly."""
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def strongest(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (K, h, w) and return the index of the strongest at each pixel, (H, W) uint8."""
    if len(maps) * size[0] * size[1] <= WHOLE:
        return _first_strongest(enlarged(maps, size)).numpy()
    label = np.empty(size, np.uint8)
    for rows, part in _enlarged_rows(maps, size):
        label[rows] = _first_strongest(part).numpy()
    return label


def _first_strongest(maps: Tensor) -> Tensor:
    """Argmax of maps (K, H, W) over K -> (H, W) uint8, the first on ties, in a tenth of torch.argmax's time."""
    value, label = maps[0].clone(), torch.zeros(maps.shape[1:], dtype=torch.uint8)
    for index in range(1, len(maps)):
        label.masked_fill_(maps[index] > value, index)
        torch.maximum(value, maps[index], out=value)
    return label


def _enlarged_rows(maps: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """Yield the result of `enlarged` in blocks of rows, since photographs of phones would need gigabytes at once."""
    height, width = size
    source = maps.shape[1]
    wide = enlarged(maps, (source, width))
    centre = ((torch.arange(height) + 0.5) * (source / height) - 0.5).clamp(min=0)
    above = centre.floor().long().clamp(max=source - 1)
    below = (above + 1).clamp(max=source - 1)
    step = max(1, WHOLE // 4 // (len(maps) * width))
    for first in range(0, height, step):
        rows = slice(first, min(first + step, height))
        share = (centre - above)[rows][None, :, None]
        yield rows, torch.lerp(wide[:, above[rows]], wide[:, below[rows]], share)


def reduce_logits(logits: Tensor, size: tuple[int, int]) -> StoredLogits:
    """Select what to store of an image's logits (L, h, w). size: (H, W) in pixels.

    Raises UserError if a logit is not finite in half precision.
    """
    logits = logits.half()
    if not torch.isfinite(logits).all():
        raise UserError(
            "the network's logits are not finite", remedy="give --SOLVER.AMP=off, or check the network's training"
        )
    labels = _labels_to_store(logits.float()).cpu()
    return StoredLogits(labels.numpy().astype(np.uint8), logits.cpu()[labels].numpy(), size)


def _labels_to_store(logits: Tensor) -> Tensor:
    """Return labels (K,) of logits (L, h, w) that may come within STORED_RATIO of the strongest one after resizing.

    A bilinear value is between the minimum and the maximum of its four neighbours. A label's lead over the strongest
    one is therefore at most its maximum minus the largest of all labels' minima, which needs no resizing.
    """
    window = (min(2, logits.shape[1]), min(2, logits.shape[2]))
    largest = F.max_pool2d(logits[None], window, stride=1)
    least = -F.max_pool2d(-logits[None], window, stride=1)
    lead = (largest - least.amax(dim=1, keepdim=True)).amax(dim=(0, 2, 3))
    return torch.nonzero(lead >= math.log(STORED_RATIO))[:, 0]


def write_logits(path: Path, stored: StoredLogits, *, made_from: str = "") -> None:
    """Write the file atomically. made_from: digest of the image, see utils.files.sources."""
    with atomic_path(path, made_from=made_from) as temporary:
        np.savez(temporary, labels=stored.labels, logits=stored.logits, size=np.array(stored.size, np.int32))


def read_logits(path: Path) -> StoredLogits:
    """Read a file of write_logits. Raises UserError if it is missing, damaged or not a file of logits."""
    try:
        with disk_errors(path), np.load(path, allow_pickle=False) as arrays:
            labels, logits, size = arrays["labels"], arrays["logits"], arrays["size"]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"cannot be read as logits ({error})", path, remedy=REMEDY) from error
    if logits.ndim != 3 or labels.shape != logits.shape[:1] or size.shape != (2,):
        raise UserError(f"{labels.shape} labels, {logits.shape} logits", path, remedy=REMEDY)
    return StoredLogits(labels, logits, (int(size[0]), int(size[1])))
