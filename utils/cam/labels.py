"""From CAMs to label maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_uint8(cams: Tensor | np.ndarray) -> np.ndarray:
    """0..1 -> 0..255, rounded to the nearest."""
    if isinstance(cams, Tensor):
        return (cams * 255).round_().to(torch.uint8).cpu().numpy()
    return np.rint(np.asarray(cams) * 255).astype(np.uint8)


def to_label(keys: Sequence[int] | np.ndarray, cams: np.ndarray, threshold: float) -> np.ndarray:
    """Each pixel's strongest class where it is above the threshold, else background.

    keys (K,) zero-based classes; cams (K, H, W) uint8 (0..255 = 0..1) or float in 0..1; threshold in 0..1, itself
    background. -> (H, W) uint8: 0 background, class + 1 elsewhere; of equally strong classes the first of `keys`.
    """
    keys, cams = np.asarray(keys), np.asarray(cams)
    if cams.ndim != 3 or keys.shape != cams.shape[:1]:
        raise ValueError(f"keys {keys.shape} and cams {cams.shape}: there is one CAM (H, W) a key, (K,) and (K, H, W)")
    if len(keys) == 0:
        return np.zeros(cams.shape[1:], dtype=np.uint8)
    labels = (keys + 1).astype(np.uint8)[cams.argmax(axis=0)]
    strongest = cams.max(axis=0)
    levels = strongest / 255.0 if cams.dtype == np.uint8 else strongest
    return np.where(levels > threshold, labels, np.uint8(0))
