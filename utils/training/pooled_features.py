"""Features of whole images from a network that is not trained, for classifiers that are fitted to them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.data.image_batches import REMEDY, Size, batches_of_one_size, read_batches
from utils.data.image_list import ImageEntry
from utils.files.parallel import progress_bar, worker_ends
from utils.runtime.device import device_errors, inference_batch


def pool_features(
    pool: Callable[[np.ndarray], Tensor],
    files: Mapping[str, Path],
    *,
    num_workers: int,
    device: torch.device,
    remedy: str,
    resize: Callable[[Size], Size] | None = None,
) -> np.ndarray:
    """Return the features (N, D) float32 of the images `files` (name -> path), in their order.

    pool: images (n, h, w, 3) uint8 RGB of one size -> their features (n, D). resize: maps an image's size to its new
    size. remedy: what to do if the device's memory is not enough. Raises UserError if an image cannot be read.
    """
    entries = [ImageEntry(name) for name in files]
    batches = batches_of_one_size(entries, files, inference_batch(0, device))
    found: dict[str, np.ndarray] = {}
    with (
        progress_bar(len(entries), "features") as bar,
        worker_ends(remedy=REMEDY),
        device_errors(device, remedy),
        torch.inference_mode(),
    ):
        for batch, images, _ in read_batches(batches, files, num_workers=num_workers, resize=resize):
            features = pool(images).float().cpu().numpy()
            found.update(zip((entry.name for entry in batch), features, strict=True))
            bar.update(len(batch))
    return np.stack([found[name] for name in files])
