"""A network's answer for an image on disk: logits in half precision at the network's resolution, NAME.npz.

labels (K,) uint8: those at least STORED_RATIO times as probable as the strongest one on some pixel
logits (K, h, w) float16
size   (2,) int32: height and width of the image, pixels
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.crf.dense import competing_labels
from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors

# labels below it win nowhere, before the CRF or after it
STORED_RATIO = 0.01
REMEDY = "delete it and run main.py test again"


@dataclass(frozen=True)
class StoredLogits:
    """labels (K,) uint8, logits (K, h, w) float16, size (H, W) of the image in pixels."""

    labels: np.ndarray
    logits: np.ndarray
    size: tuple[int, int]

    def probabilities(self) -> np.ndarray:
        """(K, H, W) float32 at the image's size: bilinear, then softmax, as published."""
        large = enlarged(torch.from_numpy(self.logits).float(), self.size)
        return large.softmax(dim=0).numpy()

    def label(self) -> np.ndarray:
        """(H, W) uint8: each pixel's strongest label."""
        large = enlarged(torch.from_numpy(self.logits).float(), self.size)
        return self.labels[large.argmax(dim=0).numpy()]


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, h, w) -> (K, H, W), bilinear."""
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def reduce_logits(logits: Tensor, size: tuple[int, int]) -> StoredLogits:
    """What is stored of an image's logits (L, h, w); size (H, W) in pixels.

    Raises UserError where a logit is not finite in half precision.
    """
    logits = logits.half()
    if not torch.isfinite(logits).all():
        raise UserError(
            "the network's logits are not finite", remedy="give --SOLVER.AMP=off, or check how the network was trained"
        )
    labels = competing_labels(enlarged(logits.float(), size).softmax(dim=0), ratio=STORED_RATIO).cpu()
    return StoredLogits(labels.numpy().astype(np.uint8), logits.cpu()[labels].numpy(), size)


def write_logits(path: Path, stored: StoredLogits) -> None:
    """Writes the file whole."""
    with atomic_path(path) as temporary:
        np.savez(temporary, labels=stored.labels, logits=stored.logits, size=np.array(stored.size, np.int32))


def read_logits(path: Path) -> StoredLogits:
    """Reads what write_logits wrote. Raises UserError where the file is missing, damaged or not of logits."""
    try:
        with disk_errors(path), np.load(path, allow_pickle=False) as arrays:
            labels, logits, size = arrays["labels"], arrays["logits"], arrays["size"]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"cannot be read as logits ({error})", path, remedy=REMEDY) from error
    if logits.ndim != 3 or labels.shape != logits.shape[:1] or size.shape != (2,):
        raise UserError(f"{labels.shape} labels, {logits.shape} logits", path, remedy=REMEDY)
    return StoredLogits(labels, logits, (int(size[0]), int(size[1])))
