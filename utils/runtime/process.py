"""The processes of a distributed run, started by torchrun."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from utils.errors import UserError
from utils.runtime.device import pick_device


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

    def from_main(self, text: str) -> str:
        """Broadcast the main process's text to every process."""
        box = [text]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.world_size > 1:
            dist.barrier()


VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = "for a single process: env -u WORLD_SIZE -u RANK COMMAND"


def _world_size() -> int:
    """Read the number of processes from the environment of torchrun or a cluster. Raises UserError if inconsistent."""
    given = os.environ.get("WORLD_SIZE", "")
    if given in ("", "1"):
        return 1
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT"):
        value = os.environ.get(name, "")
        if value and not value.isdigit():
            raise UserError(repr(value), f"environment variable {name}", "torchrun sets it to an integer", ALONE)
    if missing := [name for name in VARIABLES if not os.environ.get(name)]:
        what = f"WORLD_SIZE={given} is set without {', '.join(missing)}"
        raise UserError(what, "environment", "torchrun sets all of them", ALONE)
    if int(os.environ["RANK"]) >= int(given):
        raise UserError(f"RANK={os.environ['RANK']} of WORLD_SIZE={given}", "environment", "ranks count from 0", ALONE)
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # not started by torchrun, so the others may never come
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        print(f"waiting at {where} for {given} processes (WORLD_SIZE); {ALONE}", file=sys.stderr, flush=True)
    return int(given)


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
    world_size = _world_size()
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
    finally:
        dist.destroy_process_group()
