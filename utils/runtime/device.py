"""The device, its precision and memory layout."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from utils.errors import UserError
from utils.runtime.depthwise import FastDepthwise

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# with fewer output channels, oneDNN's channels-last backward writes outside its memory
CHANNELS_LAST_MINIMUM = 8
# images of an inference batch, unless another number is asked for: enough for a GPU, and little enough for its memory
GPU_BATCH = 4


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises UserError if the named device is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device", f"--device={name}", remedy="give --device=cpu or auto")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        rule = f"this machine has {torch.cuda.device_count()}, counted from 0"
        raise UserError("there is no such CUDA device", f"--device={name}", rule)
    return device


def precision(amp: str, device: torch.device) -> str:
    """off, bf16 or fp16: `auto` is bf16 where the device computes in it, else off; the others are themselves."""
    if amp != "auto":
        return amp
    return "bf16" if _computes_bfloat16(device) else "off"


@lru_cache
def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # older releases of torch cannot be asked; without the instructions, bfloat16 on a CPU is slower than float32
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def inference_batch(given: int, device: torch.device) -> int:
    """Images of one size that a network without gradients takes together; 0 is the device's own number."""
    return given or (GPU_BATCH if device.type == "cuda" else 1)


@contextmanager
def autocast(device: torch.device, amp: str) -> Iterator[None]:
    """Mixed precision by name: off, bf16, fp16, or auto as precision() reads it."""
    amp = precision(amp, device)
    if amp == "off":
        yield
        return
    is_slow = device.type == "cpu" and amp == "bf16"
    with torch.autocast(device.type, dtype=AMP_TYPES[amp]), FastDepthwise() if is_slow else nullcontext():
        yield


# of errors that torch raises where memory runs out, beside its own class
OUT_OF_MEMORY = ("can't allocate memory", "ALLOC_FAILED")


# of an error that it raises where an operation has no repeatable algorithm
NOT_DETERMINISTIC = "does not have a deterministic implementation"
# of errors of torch.compile where the machine's compiler is missing or too old
NOT_COMPILED = ("CppCompileError", "InvalidCxxCompiler", "working C++ compiler", "Cannot find a working triton")
# of errors of a process whose peer is gone
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


@contextmanager
def device_errors(device: torch.device, remedy: str) -> Iterator[None]:
    """Turns errors of a device into UserErrors: memory that has run out, with the remedy; a peer that is gone."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if NOT_DETERMINISTIC in text:
            raise UserError(text.splitlines()[0], "--deterministic", remedy="train without it") from error
        if any(sign in text for sign in NOT_COMPILED):
            raise UserError(
                "torch.compile has found no compiler that can do it", "--compile", remedy="train without it"
            ) from error
        if any(sign in text for sign in PEER_GONE):
            raise UserError("another process of this run has ended", remedy="see its error") from error
        is_cuda = isinstance(error, torch.OutOfMemoryError)
        if not is_cuda and not any(sign in text for sign in OUT_OF_MEMORY):
            raise
        wanted = re.search(r"allocate ([\d.]+ [GMK]iB)", text)
        what = f"memory ran out (wanted: {wanted[1]} more)" if wanted else "memory ran out"
        raise UserError(what, f"--device={device.type}", remedy=remedy) from error


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device. A GPU gets it from page-locked memory, behind which its work need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


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
