"""Checkpoints of a run: written whole, found again, pruned."""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import remove_file
from utils.training.weights import read_pth

# where a checkpoint's networks are averages: the weights that the optimiser moves, by the name in the task's network
LIVE = "live"


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # not by name: torch writes that into the archive, here one with the process's number


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a .pth file on the CPU without executing anything from it. Raises UserError naming the file."""
    content = read_pth(path)
    if not isinstance(content, dict):
        raise UserError(f"it holds a {type(content).__name__}", path, "expected a checkpoint: values by name")
    return content


def weights_digest(network: torch.nn.Module) -> str:
    """A short text that other weights would not have; the network is on the CPU."""
    digest = hashlib.blake2b(digest_size=8)
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def epoch_path(model_dir: Path, prefix: str, epoch: int) -> Path:
    """The checkpoint after `epoch`, counted from 0."""
    return kept_path(model_dir, prefix, epoch, kind="epoch")


def kept_path(model_dir: Path, prefix: str, number: int, *, kind: str) -> Path:
    """The checkpoint that stays after epoch `number`, or after `number` steps (kind `iter`)."""
    return model_dir / f"{prefix}_{kind}_{number}.pth"


def kept_number(path: Path, *, kind: str) -> int | None:
    """The number that kept_path put into a name; None for names of other files."""
    match = re.fullmatch(rf".*_{kind}_(\d+)\.pth", path.name)
    return int(match[1]) if match else None


def step_path(model_dir: Path, prefix: str, step: int) -> Path:
    """The checkpoint between two kept ones, after `step` steps of the run."""
    return model_dir / f"{prefix}_step_{step}.pth"


def _numbered(model_dir: Path, kind: str) -> list[tuple[int, Path]]:
    found = ((re.fullmatch(rf".*_{kind}_(\d+)\.pth", p.name), p) for p in model_dir.glob(f"*_{kind}_*.pth"))
    return sorted((int(match[1]), path) for match, path in found if match and not path.name.startswith("."))


def latest_checkpoint(model_dir: Path, *, kind: str = "epoch") -> Path | None:
    """The newest checkpoint of a run: the one between kept ones if there is one (it goes with the next kept one)."""
    return next(iter(newest_first(model_dir, kind=kind)), None)


def newest_first(model_dir: Path, *, kind: str) -> list[Path]:
    """The checkpoints of a run that can be resumed from."""
    return [path for each in ("step", kind) for _, path in reversed(_numbered(model_dir, each))]


def final_checkpoint(model_dir: Path) -> Path:
    """The checkpoint of the last whole epoch. Raises UserError with the remedy."""
    found = _numbered(model_dir, "epoch")
    if not found:
        remedy = f"run train_l2g.py --experiment_name {model_dir.parent.name} first"
        raise UserError("holds no checkpoint", model_dir, remedy=remedy)
    return found[-1][1]


def prune(model_dir: Path, *, keep: int, kind: str = "epoch") -> None:
    """Removes all kept checkpoints but the last `keep`, and those between them."""
    for _, path in _numbered(model_dir, kind)[:-keep] + _numbered(model_dir, "step"):
        remove_file(path)


def prune_steps(model_dir: Path, *, newest: Path) -> None:
    """Removes the checkpoints between kept ones but `newest`."""
    for _, path in _numbered(model_dir, "step"):
        if path != newest:
            remove_file(path)
