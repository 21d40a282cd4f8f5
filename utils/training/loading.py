"""Loads batches in worker processes that end with the run, however it ends."""

import copy
import multiprocessing
import os
from collections.abc import Generator, Iterator, Sized
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing.context import BaseContext
from threading import Timer
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from utils.errors import UserError
from utils.files.parallel import SHARED_MEMORY, awaited, check_semaphores, start_reader, worker_ends
from utils.files.shared_flag import SharedFlag
from utils.training.sampling import Batches, SampleKey

ENOUGH = 2 << 30  # bytes of shared memory that are enough for batches of any settings
REMEDY = (
    "give --num_workers=0 (--DATALOADER.NUM_WORKERS=0), or more memory and shared memory (docker run --shm-size=2g)"
)
GRACE_SECONDS = 2.0  # time for a worker to finish its current sample

Batch = dict[str, Tensor]


class Samples(Sized, Protocol):
    """A map-style dataset whose samples depend only on their key, (epoch, index, *variant)."""

    def __getitem__(self, key: Any) -> dict[str, Tensor]: ...


class _ErrorsAsValues(Dataset):
    """Returns a UserError as a value: raised in a worker, it would arrive as one string with its traceback."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor] | UserError:
        try:
            return self.samples[key]
        except UserError as error:
            return error


Sent = dict[str, Tensor | np.ndarray]


def _collate(samples: list[dict[str, Tensor] | UserError], *, as_arrays: bool) -> Sent | UserError:
    error = next((sample for sample in samples if isinstance(sample, UserError)), None)
    if error is not None:
        return error
    if not as_arrays:
        return default_collate(samples)
    # in a worker process, default_collate would create each batch in shared memory
    read = [sample for sample in samples if not isinstance(sample, UserError)]
    return {name: np.stack([sample[name].numpy() for sample in read]) for name in read[0]}


def _is_short_of_shared_memory() -> bool:
    """Return whether shared memory is too small for tensors; containers have 64 MB by default."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return True
    return status.f_bavail * status.f_frsize < ENOUGH


def _context() -> BaseContext:
    """Return the context of processes that torch would use, but that a worker can be killed at any moment."""
    context = copy.copy(multiprocessing.get_context())
    context.Event = partial(SharedFlag, context)  # type: ignore[method-assign, assignment]
    return context


@contextmanager
def read_ahead(samples: Samples, batches: Batches, *, num_workers: int, pin: bool) -> Iterator[Iterator[Batch]]:
    """Iterate over the batches, read by num_workers processes (0: this one), which end with the block.

    pin: use pinned memory, for asynchronous copies to the GPU. The iterator raises the UserError of a sample.
    """
    loader: DataLoader = DataLoader(
        _ErrorsAsValues(samples),
        batch_sampler=batches,
        num_workers=num_workers,
        multiprocessing_context=_context() if num_workers else None,
        # arrays are sent through pipes; for a GPU, tensors are sent through shared memory if it is large enough
        collate_fn=partial(_collate, as_arrays=num_workers > 0 and (not pin or _is_short_of_shared_memory())),
        pin_memory=pin,
        # its own generator, since the loader would otherwise use dropout's
        generator=torch.Generator(),
        worker_init_fn=start_reader,
    )
    source = None
    try:
        check_semaphores(num_workers, remedy=REMEDY)
        source = iter(loader)
        with worker_ends(remedy=REMEDY), closing(_raising(awaited(source))) as received:
            yield received
    finally:
        _end_workers(source)


def _raising(source: Iterator[Sent | UserError]) -> Generator[Batch, None, None]:
    for batch in source:
        if isinstance(batch, UserError):
            remedy = f"{batch.remedy}; scripts/check_data.py finds all such files" if batch.remedy else ""
            raise UserError(batch.what, batch.where, batch.rule, remedy)
        yield {name: torch.as_tensor(value) for name, value in batch.items()}


def _end_workers(source: Any) -> None:
    """Ask the loader's workers to end, and kill those that do not, because the interpreter waits for them on exit."""
    workers = getattr(source, "_workers", [])
    if not workers:
        return
    killer = Timer(GRACE_SECONDS, lambda: [worker.kill() for worker in workers])
    killer.start()
    try:
        with suppress(
            RuntimeError
        ):  # torch reports a killed worker; the error that ended the block is more informative
            source._shutdown_workers()
    finally:
        killer.cancel()
