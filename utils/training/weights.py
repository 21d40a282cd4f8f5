"""Reads weights files without executing code, and requires them where layers are frozen."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError
from utils.training.mxnet_params import read_params, to_resnet38

NO_WEIGHTS = (None, "none")
# first bytes of files that were saved instead of the weights
IMPOSTORS = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "a web page",
    b"version https://git-lfs": "a Git LFS pointer",
}


def require_weights(source: str | None, option: str, *, frozen: Mapping[str, tuple[Any, Any]]) -> None:
    """Raise UserError if training would freeze randomly initialised layers, and silently learn next to nothing.

    source: the value of `option`, the initial weights. frozen: option -> (its value, the value that freezes nothing).
    """
    freezing = [f"{name}={value}" for name, (value, free) in frozen.items() if value != free]
    if source in NO_WEIGHTS and freezing:
        free = " and ".join(f"{name}={str(free).lower()}" for name, (_, free) in frozen.items())
        raise UserError(
            f"{option} is not given, so {' and '.join(freezing)} would freeze random weights",
            remedy=f"give {option}, or train all layers with {free}",
        )


def read_weights(path: Path) -> Any:
    """Read a .params (MXNet, ResNet-38), .safetensors or .pth file; models.weights finds the tensors in the result.

    Raises UserError naming the file if it cannot be read.
    """
    _refuse_impostor(path, "weights file")
    if path.suffix == ".params":
        return to_resnet38(read_params(path), where=str(path))
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise _unreadable(path, "safetensors", str(error)) from error
    return read_pth(path)


def read_pth(path: Path) -> Any:
    """Read tensors and plain values from a .pth file on the CPU, without executing code. Raises UserError naming it."""
    _refuse_impostor(path, "checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch raises half a dozen exception types for a damaged or foreign file
        # its message recommends loading without weights_only, which would execute code from the file
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        if foreign is None:
            raise _unreadable(path, "PyTorch", type(error).__name__) from error
        raise UserError(
            f"it contains a {foreign[1]}",
            path,
            "only tensors and plain values are read, so that a file cannot execute code",
            "save only the state dict in a new file",
        ) from error


def _refuse_impostor(path: Path, what: str) -> None:
    if not path.is_file():
        raise UserError(f"no such {what}", path)
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise _unreadable(path, what, "it is empty")
    for beginning, kind in IMPOSTORS.items():
        if start.lstrip().lower().startswith(beginning):
            raise UserError(f"it is {kind}", path, "expected weights", "download the file itself")


def _unreadable(path: Path, kind: str, reason: str) -> UserError:
    return UserError(
        f"it cannot be read as a {kind} file ({reason})",
        path,
        remedy="delete it and download or write it again, or give another file",
    )
