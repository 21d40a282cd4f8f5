"""The device, its precision and memory layout."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from utils.errors import UserError

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# with fewer output channels, oneDNN's channels-last backward writes outside its memory
CHANNELS_LAST_MINIMUM = 8


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises UserError if the named device is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device", f"--device={name}", remedy="give --device=cpu or auto")
    return torch.device(name)


def autocast(device: torch.device, amp: str) -> AbstractContextManager:
    """Mixed precision by name: off, bf16, fp16."""
    return torch.autocast(device.type, dtype=AMP_TYPES[amp]) if amp != "off" else nullcontext()


# of errors that torch raises where memory runs out, beside its own class
OUT_OF_MEMORY = ("can't allocate memory", "ALLOC_FAILED")


@contextmanager
def memory_errors(device: torch.device, remedy: str) -> Iterator[None]:
    """Turns the error of memory that has run out into a UserError with the remedy."""
    try:
        yield
    except RuntimeError as error:
        is_cuda = isinstance(error, torch.OutOfMemoryError)
        if not is_cuda and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        wanted = re.search(r"allocate ([\d.]+ [GMK]iB)", str(error))
        what = f"memory ran out (wanted: {wanted[1]} more)" if wanted else "memory ran out"
        raise UserError(what, f"--device={device.type}", remedy=remedy) from error


def unsafe_in_channels_last(model: nn.Module, device: torch.device) -> str | None:
    """Why the channels-last layout is not safe for training this model here, naming the layer; None if it is."""
    if device.type == "cpu":
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d) and layer.out_channels < CHANNELS_LAST_MINIMUM:
                return (
                    f"on the CPU every convolution needs {CHANNELS_LAST_MINIMUM} output channels or more for it, "
                    f"{name} has {layer.out_channels}"
                )
    return None
