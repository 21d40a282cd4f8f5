"""Checkpoints of a run: written whole, found again, thinned out; and weights in the files that others publish."""

import re
from pathlib import Path
from typing import Any

import torch

from utils.mxnet_params import read_params, to_resnet38
from utils.paths import atomic_path


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a .pth file on the CPU without executing anything from it. Raises ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged or foreign file
        raise ValueError(f"{path} cannot be read as a checkpoint of tensors and plain values: {error}") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """ImageNet weights of a backbone from a .params (MXNet, ResNet-38), .safetensors or .pth file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    if path.suffix == ".params":
        return to_resnet38(read_params(path))
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content = read_checkpoint(path)
    return content.get("state_dict", content)


def epoch_path(model_dir: Path, prefix: str, epoch: int) -> Path:
    """The checkpoint after `epoch`, counted from 0."""
    return model_dir / f"{prefix}_epoch_{epoch}.pth"


def step_path(model_dir: Path, prefix: str, step: int) -> Path:
    """The checkpoint inside an epoch, after `step` steps of the run."""
    return model_dir / f"{prefix}_step_{step}.pth"


def _numbered(model_dir: Path, kind: str) -> list[tuple[int, Path]]:
    found = ((re.fullmatch(rf".*_{kind}_(\d+)\.pth", p.name), p) for p in model_dir.glob(f"*_{kind}_*.pth"))
    return sorted((int(match[1]), path) for match, path in found if match and not path.name.startswith("."))


def latest_checkpoint(model_dir: Path) -> Path | None:
    """The newest checkpoint of a run: the one inside an epoch if there is one (it goes when its epoch ends)."""
    for kind in ("step", "epoch"):
        if found := _numbered(model_dir, kind):
            return found[-1][1]
    return None


def final_checkpoint(model_dir: Path) -> Path:
    """The checkpoint of the last whole epoch. Raises FileNotFoundError with the remedy."""
    found = _numbered(model_dir, "epoch")
    if not found:
        raise FileNotFoundError(
            f"no checkpoint in {model_dir}: run train_l2g.py --experiment_name {model_dir.parent.name} first"
        )
    return found[-1][1]


def thin_out(model_dir: Path, *, keep: int) -> None:
    """Removes all epoch checkpoints but the last `keep`, and those inside an epoch."""
    for _, path in _numbered(model_dir, "epoch")[:-keep] + _numbered(model_dir, "step"):
        path.unlink()


def thin_out_steps(model_dir: Path, *, newest: Path) -> None:
    """Removes the checkpoints inside an epoch but `newest`."""
    for _, path in _numbered(model_dir, "step"):
        if path != newest:
            path.unlink()
