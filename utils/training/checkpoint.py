"""Checkpoints of a run: atomic writing, finding the latest, pruning."""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import remove_file
from utils.training.weights import read_pth

# key in checkpoints of averaged networks for the weights that the optimiser updates, by their names in task.network
LIVE = "live"


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write the checkpoint atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        # not by name: torch stores the name, here a temporary one, in the archive
        torch.save(_with_shared_strings(content), file)


def _with_shared_strings(value: Any) -> Any:
    """Return the value with one object per equal string in its dicts, lists and tuples.

    A pickle stores an object once and then refers to it, so the bytes of a resumed run, whose strings are partly read
    from a file, would differ from those of an uninterrupted one.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {_with_shared_strings(key): _with_shared_strings(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_with_shared_strings, value))
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a .pth file on the CPU without executing code from it. Raises UserError naming the file."""
    content = read_pth(path)
    if not isinstance(content, dict):
        raise UserError(
            f"it contains a {type(content).__name__}", path, "expected a checkpoint, a dictionary of values"
        )
    return content


def weights_digest(network: torch.nn.Module) -> str:
    """Return a short digest of the network's weights, which must be on the CPU."""
    digest = hashlib.blake2b(digest_size=8)
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def epoch_path(model_dir: Path, prefix: str, epoch: int) -> Path:
    """Return the path of the checkpoint after `epoch`, counted from 0."""
    return kept_path(model_dir, prefix, epoch, kind="epoch")


def kept_path(model_dir: Path, prefix: str, number: int, *, kind: str) -> Path:
    """Return the path of the permanent checkpoint after epoch `number`, or after `number` steps (kind `iter`)."""
    return model_dir / f"{prefix}_{kind}_{number}.pth"


def kept_number(path: Path, *, kind: str) -> int | None:
    """Return the number in a name made by kept_path; None for other files."""
    match = re.fullmatch(rf".*_{kind}_(\d+)\.pth", path.name)
    return int(match[1]) if match else None


def step_path(model_dir: Path, prefix: str, step: int) -> Path:
    """Return the path of the temporary checkpoint after `step` steps of the run."""
    return model_dir / f"{prefix}_step_{step}.pth"


def _numbered(model_dir: Path, kind: str) -> list[tuple[int, Path]]:
    found = ((re.fullmatch(rf".*_{kind}_(\d+)\.pth", p.name), p) for p in model_dir.glob(f"*_{kind}_*.pth"))
    return sorted((int(match[1]), path) for match, path in found if match and not path.name.startswith("."))


def latest_checkpoint(model_dir: Path, *, kind: str = "epoch") -> Path | None:
    """Return the newest checkpoint of a run: a temporary one if it exists, since the next permanent one removes it."""
    return next(iter(newest_first(model_dir, kind=kind)), None)


def newest_first(model_dir: Path, *, kind: str) -> list[Path]:
    """Return the checkpoints from which a run can resume, newest first."""
    return [path for each in ("step", kind) for _, path in reversed(_numbered(model_dir, each))]


def final_checkpoint(model_dir: Path) -> Path:
    """Return the checkpoint of the last complete epoch. Raises UserError with the remedy."""
    found = _numbered(model_dir, "epoch")
    if not found:
        remedy = f"run train_l2g.py --experiment_name {model_dir.parent.name} first"
        raise UserError("contains no checkpoint", model_dir, remedy=remedy)
    return found[-1][1]


def prune(model_dir: Path, *, keep: int, kind: str = "epoch") -> None:
    """Remove all permanent checkpoints except the last `keep`, and all temporary ones."""
    for _, path in _numbered(model_dir, kind)[:-keep] + _numbered(model_dir, "step"):
        remove_file(path)


def prune_steps(model_dir: Path, *, newest: Path) -> None:
    """Remove all temporary checkpoints except `newest`."""
    for _, path in _numbered(model_dir, "step"):
        if path != newest:
            remove_file(path)
