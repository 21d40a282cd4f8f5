"""The device, its precision and memory layout."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from utils.errors import UserError
from utils.runtime.fast_convolutions import FastConvolutions

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# with fewer output channels, oneDNN's channels-last backward pass writes out of bounds
CHANNELS_LAST_MINIMUM = 8
# images of an inference batch, unless another number is asked for: enough for a GPU, and little enough for its memory
GPU_BATCH = 4


def pick_device(name: str) -> torch.device:
    """Return the device; `auto` is CUDA if available, else the CPU. Raises UserError if the device is missing."""
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
    """Resolve `auto` to bf16 if the device supports it, else off. Other values (off, bf16, fp16) stay unchanged."""
    if amp != "auto":
        return amp
    return "bf16" if _computes_bfloat16(device) else "off"


@lru_cache
def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # older torch releases do not report it; without the instructions, bfloat16 on a CPU is slower than float32
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def inference_batch(given: int, device: torch.device) -> int:
    """Images of one size that a network without gradients takes together; 0 is the device's own number."""
    return given or (GPU_BATCH if device.type == "cuda" else 1)


@contextmanager
def autocast(device: torch.device, amp: str) -> Iterator[None]:
    """Mixed precision by name: off, bf16, fp16, or auto (see precision)."""
    amp = precision(amp, device)
    mixed = nullcontext() if amp == "off" else torch.autocast(device.type, dtype=AMP_TYPES[amp])
    with mixed, FastConvolutions() if device.type == "cpu" else nullcontext():
        yield


# messages of out-of-memory errors that are not torch.OutOfMemoryError
OUT_OF_MEMORY = ("can't allocate memory", "ALLOC_FAILED", "CUDA error: out of memory")


# message of the error for an operation without a deterministic algorithm
NOT_DETERMINISTIC = "does not have a deterministic implementation"
# messages of torch.compile's errors if the compiler is missing or too old
NOT_COMPILED = ("CppCompileError", "InvalidCxxCompiler", "working C++ compiler", "Cannot find a working triton")
# messages of errors of a process whose peer has ended
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


@contextmanager
def device_errors(device: torch.device, remedy: str) -> Iterator[None]:
    """Convert errors of the device to UserErrors: out of memory (with the remedy), peer ended, no compiler."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if NOT_DETERMINISTIC in text:
            raise UserError(text.splitlines()[0], "--deterministic", remedy="train without it") from error
        if any(sign in text for sign in NOT_COMPILED):
            raise UserError(
                "torch.compile found no suitable compiler", "--compile", remedy="train without it"
            ) from error
        if any(sign in text for sign in PEER_GONE):
            raise UserError("another process of this run has ended", remedy="see its error") from error
        is_cuda = isinstance(error, torch.OutOfMemoryError)
        if not is_cuda and not any(sign in text for sign in OUT_OF_MEMORY):
            raise
        wanted = re.search(r"allocate ([\d.]+ [GMK]iB)", text)
        what = f"out of memory ({wanted[1]} more needed)" if wanted else "out of memory"
        raise UserError(what, f"--device={device.type}", remedy=remedy) from error


def move_network(network: nn.Module, device: torch.device) -> None:
    """Move a network to the device, in place. Raises UserError if others have left too little memory there."""
    with device_errors(device, "end the other programs on it (nvidia-smi lists them), or compute on another device"):
        network.to(device)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move the tensor to the device. Copies to a GPU are asynchronous, from pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_channels_last(network: nn.Module, device: torch.device) -> list[str]:
    """Convert the network's layers to the channels-last memory layout, in place, except those unsafe in it.

    On the CPU, convolutions with few output channels, such as the last layer for two classes, compute in the
    plain layout: their inputs (N, C, H, W) are copied to it. Returns the names of these layers.
    """
    network.to(memory_format=torch.channels_last)
    if device.type != "cpu":
        return []
    narrow = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.out_channels < CHANNELS_LAST_MINIMUM
    }
    for layer in narrow.values():
        layer.weight.data = _plain(layer.weight.data)
        layer.register_forward_pre_hook(_plain_input)
    return list(narrow)


def _plain(x: torch.Tensor) -> torch.Tensor:
    # a tensor of one pixel or channel is contiguous in both layouts, and its strides decide: contiguous() keeps them
    if x.is_contiguous(memory_format=torch.channels_last):
        return x.clone(memory_format=torch.contiguous_format)
    return x.contiguous()


def _plain_input(_layer: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    return _plain(inputs[0])
