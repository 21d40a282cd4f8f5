"""The processes of a distributed run, started by torchrun."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from utils.errors import UserError
from utils.runtime.device import pick_device
from utils.runtime.memory import keep_freed_memory
from utils.runtime.rank import read_rank

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """One process of a distributed run: its rank, the number of processes, its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Average a tensor over all processes."""
        if self.world_size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process, so that all leave the loop or write at the same step.

        The exchange is between CPUs and does not block the GPUs.
        """
        if self.world_size == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag))) > 0)

    def from_main(self, content: T) -> T:
        """Broadcast the main process's content to every process."""
        box = [content]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def _signals_obeyed() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def start_process(device_name: str) -> Iterator[Process]:
    """Join the processes started by torchrun (gloo between CPUs, NCCL between GPUs). Without torchrun: one process."""
    device = pick_device(device_name)
    if device.type == "cpu":
        keep_freed_memory()
    world_size = read_rank().world_size
    if world_size == 1:
        yield Process(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK") or 0))
        torch.cuda.set_device(device)
    with _signals_obeyed():  # a Python signal handler would not run while this process waits for the others
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), world_size, device)
    except RuntimeError as error:
        if is_lost(error):
            raise UserError(
                "another process of this run has ended",
                f"process {dist.get_rank()} of {world_size}",
                remedy="its own message, or torchrun's report below, says why",
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def is_lost(error: RuntimeError) -> bool:
    """Return whether a collective operation failed because the connection to another process is gone.

    gloo raises plain RuntimeErrors, which only their text tells from others.
    """
    text = str(error)
    return isinstance(error, dist.DistNetworkError | dist.DistBackendError) or (
        "gloo" in text and any(reason in text for reason in ("closed by peer", "reset by peer", "Broken pipe"))
    )
