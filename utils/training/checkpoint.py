"""Checkpoints of a run: written whole, found again, thinned out; and weights in the files that others publish."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.files.atomic import atomic_path
from utils.training.mxnet_params import read_params, to_resnet38

# batch norm's count of steps, which no network here uses and older files lack
STEP_COUNT = "num_batches_tracked"
# what stands before a backbone's names in the state dict of a whole network, and before those of data-parallel ones
WRAPPERS = ("", "backbone.", "module.", "module.backbone.")


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
    tensors = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ValueError(f'{path} holds no state dict: tensors by name, alone or under "state_dict"')
    return tensors


def under_names_of(
    own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], *, what: str
) -> dict[str, torch.Tensor]:
    """`given` under the names of `own`: by name if all are there, else the same tensors in the same order.

    Names may have one of the prefixes of wrappers. What follows behind the last of `own` is dropped: layers that a
    network without a classifier does not have. `what` names the network. Raises ValueError, naming what differs,
    unless all shapes and kinds of tensors agree.
    """
    own = {name: tensor for name, tensor in own.items() if not name.endswith(STEP_COUNT)}
    given = {name: tensor for name, tensor in given.items() if not name.endswith(STEP_COUNT)}
    for prefix in WRAPPERS:
        if all(prefix + name in given for name in own):
            return {name: given[prefix + name] for name in own}
    missing = [name for name in own if name not in given]
    by_name = f"missing by name {len(missing)}, such as {missing[0]}"
    if len(given) < len(own):
        raise ValueError(f"these are not the weights of {what}: {len(given)} tensors for {len(own)}, {by_name}")
    pairs = list(zip(own, given.items(), strict=False))
    differing = [
        f"{theirs} {tuple(tensor.shape)} for {mine} {tuple(own[mine].shape)}"
        for mine, (theirs, tensor) in pairs
        if tensor.shape != own[mine].shape or mine.rpartition(".")[2] != theirs.rpartition(".")[2]
    ]
    if differing:
        raise ValueError(
            f"these are not the weights of {what}: {by_name}, and {len(differing)} of {len(own)} in another order or "
            f"of another shape, such as {differing[0]}"
        )
    return {mine: tensor for mine, (_, tensor) in pairs}


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


def step_path(model_dir: Path, prefix: str, step: int) -> Path:
    """The checkpoint between two kept ones, after `step` steps of the run."""
    return model_dir / f"{prefix}_step_{step}.pth"


def _numbered(model_dir: Path, kind: str) -> list[tuple[int, Path]]:
    found = ((re.fullmatch(rf".*_{kind}_(\d+)\.pth", p.name), p) for p in model_dir.glob(f"*_{kind}_*.pth"))
    return sorted((int(match[1]), path) for match, path in found if match and not path.name.startswith("."))


def latest_checkpoint(model_dir: Path, *, kind: str = "epoch") -> Path | None:
    """The newest checkpoint of a run: the one between kept ones if there is one (it goes with the next kept one)."""
    for each in ("step", kind):
        if found := _numbered(model_dir, each):
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


def thin_out(model_dir: Path, *, keep: int, kind: str = "epoch") -> None:
    """Removes all kept checkpoints but the last `keep`, and those between them."""
    for _, path in _numbered(model_dir, kind)[:-keep] + _numbered(model_dir, "step"):
        path.unlink()


def thin_out_steps(model_dir: Path, *, newest: Path) -> None:
    """Removes the checkpoints between kept ones but `newest`."""
    for _, path in _numbered(model_dir, "step"):
        if path != newest:
            path.unlink()
