"""This process among those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from utils.runtime.device import pick_device


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
        """Whether it is true on any process: all must leave the loop, or write, at the same step.

        It is exchanged between the CPUs: the GPUs continue meanwhile.
        """
        if self.world_size == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag))) > 0)

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


@contextmanager
def start_process(device_name: str) -> Iterator[Process]:
    """Joins the processes that torchrun started (gloo between CPUs, NCCL between GPUs); alone without torchrun."""
    device = pick_device(device_name)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Process(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), world_size, device)
    finally:
        dist.destroy_process_group()
