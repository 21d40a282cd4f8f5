"""Initial weights of small networks in the formats published for the full ones."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deeplabv2.models import build_segmenter
from models import build_cam_net
from utils.training.mxnet_params import DENSE, LIST_MAGIC, MAGIC_WITH_STORAGE

LEAVES = {"running_mean": "moving_mean", "running_var": "moving_var", "bias": "beta"}


def mxnet_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of ResNet-38's residual layers here -> those in the MXNet file."""
    names = {}
    for name in state:
        parts, leaf = name.split(".")[:-1], name.split(".")[-1]
        if name.startswith(("f", "conv1a", "bn7")) or leaf == "num_batches_tracked":
            continue
        kind = "bn" if parts[1].startswith("bn") else "res"
        unit = parts[0][1:] + "a" if "_" not in parts[0] else parts[0][1:].replace("_", "b")
        suffix = LEAVES.get(leaf, "gamma" if kind == "bn" else "weight")
        names[name] = f"arg:{kind}{unit}_{parts[1].partition('_')[2]}_{suffix}"
    return names


def write_mxnet(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """An MXNet .params file of float32 arrays, in its newer layout."""
    content = struct.pack("<3Q", LIST_MAGIC, 0, len(arrays))
    for array in arrays.values():
        head = struct.pack(f"<IiI{array.ndim}q", MAGIC_WITH_STORAGE, DENSE, array.ndim, *array.shape)
        content += head + struct.pack("<3i", 1, 0, 0) + array.astype("<f4").tobytes()
    content += struct.pack("<Q", len(arrays))
    content += b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_small_resnet38(path: Path, *, width: float) -> Path:
    """Random "ImageNet" weights of a ResNet-38 with few channels."""
    torch.manual_seed(0)
    state = build_cam_net("resnet38", 1, width=width).state_dict()
    own = {"conv1a.weight": "arg:conv1a_weight"} | {
        f"bn7.{leaf}": f"arg:bn7_{LEAVES.get(leaf, 'gamma')}" for leaf in ("weight", "bias", *list(LEAVES)[:2])
    }
    return write_mxnet(path, {theirs: state[name].numpy() for name, theirs in (own | mxnet_names(state)).items()})


def write_small_resnet101(path: Path, **size: object) -> Path:
    """The backbone of DeepLab v2 with few blocks and channels (`size` as of build_segmenter), a bare state dict."""
    torch.manual_seed(0)
    state = build_segmenter("DeepLabV2_ResNet101", 21, **size).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("aspp.")}, path)
    return path
