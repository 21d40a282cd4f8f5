"""CAM dictionaries of other projects' random walks."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def irn_export(keys: Sequence[int], strided: Tensor, high_res: Tensor) -> dict[str, np.ndarray]:
    """IRN's dictionary: keys (K,) zero-based, cam (K, h/4, w/4), high_res (K, H, W), both float32."""
    return {
        "keys": np.asarray(keys, dtype=np.int64),
        "cam": strided.cpu().numpy(),
        "high_res": high_res.cpu().numpy(),
    }


def affinity_export(keys: Sequence[int], strided: Tensor, high_res: Tensor) -> dict[str, np.ndarray]:
    """AffinityNet's dictionary as PuzzleCAM has it: keys (K + 1,), first 0 for background, then class + 1."""
    return {
        "keys": np.concatenate([[0], np.asarray(keys, dtype=np.int64) + 1]).astype(np.int64),
        "cam": strided.cpu().numpy(),
        "hr_cam": high_res.cpu().numpy(),
    }
