"""The machine a run meets: device, precision, processes, signals, versions."""

import importlib.metadata
import json
import logging
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from utils.paths import atomic_path

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# with fewer output channels, oneDNN's channels-last backward writes outside its memory
CHANNELS_LAST_MINIMUM = 8
REPORTED_PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "pillow", "numba")


@dataclass(frozen=True)
class Process:
    """This process among those of the run: its rank, how many there are, its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over all processes."""
        if self.world_size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is true on any process: all must leave the loop, or write, at the same step."""
        if self.world_size == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def from_main(self, text: str) -> str:
        """The main process's text, on every process."""
        box = [text]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            dist.barrier()


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ValueError if the named device is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device={name}: this machine has no CUDA device; use --device=cpu or auto")
    return torch.device(name)


@contextmanager
def start_process(device_name: str) -> Iterator[Process]:
    """Joins the processes that torchrun started (gloo on the CPU, NCCL on CUDA); alone without torchrun."""
    device = pick_device(device_name)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Process(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), world_size, device)
    finally:
        dist.destroy_process_group()


def autocast(device: torch.device, amp: str) -> AbstractContextManager:
    """Mixed precision by name: off, bf16, fp16."""
    return torch.autocast(device.type, dtype=AMP_TYPES[amp]) if amp != "off" else nullcontext()


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


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step; the second one is obeyed."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = True
        signal.signal(number, self._previous[number])
        tqdm.write("stopping after this step …", file=sys.stderr)


class _TqdmHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def open_log(path: Path | None) -> logging.Logger:
    """The run's log: on the screen above the bar and appended to `path`; mute for None (not the main process)."""
    log = logging.getLogger("l2g")
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO if path else logging.CRITICAL)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path)
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(file)
        log.addHandler(_TqdmHandler())
    return log


def write_versions(path: Path) -> None:
    """Records Python, the libraries and the machine that a run was made with.

    Instructions and threads decide in which order numbers are summed: other ones end in other last digits.
    """
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    for package in REPORTED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n")
