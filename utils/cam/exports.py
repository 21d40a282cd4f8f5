"""CAM dictionaries in the formats of other projects."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.errors import UserError
from utils.files.npy_dict import read_npy_dict

if TYPE_CHECKING:
    from torch import Tensor


def irn_export(keys: Sequence[int], strided: "Tensor", high_res: "Tensor") -> dict[str, Any]:
    """Build IRN's dictionary: keys (K,) zero-based, cam (K, h/4, w/4), high_res (K, H, W).

    keys and cam are tensors, as IRN's steps expect; high_res is a float32 array.
    """
    import torch  # not at the top: reading exports does not need it

    return {"keys": torch.tensor(keys, dtype=torch.int64), "cam": strided.cpu(), "high_res": high_res.cpu().numpy()}


def affinity_export(keys: Sequence[int], strided: "Tensor", high_res: "Tensor") -> dict[str, Any]:
    """Build AffinityNet's dictionary in PuzzleCAM's format: keys (K + 1,), 0 for background first, then class + 1.

    cam (K, h/4, w/4) is a float32 tensor, hr_cam (K, H, W) a float32 array.
    """
    return {
        "keys": np.concatenate([[0], np.asarray(keys, dtype=np.int64) + 1]).astype(np.int64),
        "cam": strided.cpu(),
        "hr_cam": high_res.cpu().numpy(),
    }


def psa_export(keys: Sequence[int], cams: "Tensor") -> dict[int, np.ndarray]:
    """Build PSA's dictionary: zero-based class -> its CAM (H, W) float32 in 0..1."""
    return {int(key): plane.astype(np.float32) for key, plane in zip(keys, cams.cpu().numpy(), strict=True)}


def read_exported_cam(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read zero-based keys (K,) int64 and CAMs (K, H, W) from an exported dictionary.

    IRN: zero-based keys, high_res. AffinityNet and PuzzleCAM: keys with 0 for background first, hr_cam, or rw after
    the random walk. PSA: zero-based class -> (H, W). Raises UserError naming the file if it is none of these.
    """
    content = read_npy_dict(path)
    if not content:  # PSA's format for an image without tags
        return np.zeros(0, np.int64), np.zeros((0, 0, 0), np.float32)
    if all(isinstance(key, int) for key in content):
        keys, planes = np.array(sorted(content)), [np.asarray(content[key]) for key in sorted(content)]
        if any(plane.ndim != 2 or plane.shape != planes[0].shape for plane in planes):
            raise UserError("contains CAMs of several sizes", path, "expected one (H, W) map per class")
        cams = np.stack(planes)
    else:
        keys, cams = _named_entries(content, path)
    if keys.ndim != 1 or keys.dtype.kind not in "iu" or len(keys) != len(cams) or (len(keys) and cams.ndim != 3):
        raise UserError(f"contains {keys.shape} keys and {cams.shape} CAMs", path, "expected one (H, W) map per key")
    return keys.astype(np.int64), cams


def _named_entries(content: dict[Any, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    keys = np.asarray(content.get("keys", ()))
    if "high_res" in content:
        return keys, np.asarray(content["high_res"])
    walked = next((content[name] for name in ("hr_cam", "rw") if name in content), None)
    if walked is None or keys.ndim != 1 or keys[:1].tolist() != [0]:
        raise UserError(
            f"has entries {', '.join(map(str, content)) or 'none'}",
            path,
            "expected one of: keys and high_res; keys from 0 and hr_cam or rw; class index -> map",
        )
    return keys[1:] - 1, np.asarray(walked)
