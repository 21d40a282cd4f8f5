"""Reading of batches in worker processes that end with the run, however it ends."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from utils.errors import UserError
from utils.files.parallel import start_reader
from utils.training.sampling import Batches, SampleKey

GRACE_SECONDS = 2.0  # in which a worker may finish the sample that it is reading

Batch = dict[str, Tensor]


class Samples(Sized, Protocol):
    """A map-style dataset whose sample follows from its key, (epoch, index, *variant), and nothing else."""

    def __getitem__(self, key: Any) -> dict[str, Tensor]: ...


class _ErrorsAsValues(Dataset):
    """Samples, or the UserError met: a worker's exception would arrive as one string with its traceback."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor] | UserError:
        try:
            return self.samples[key]
        except UserError as error:
            return error


def _collate(samples: list[dict[str, Tensor] | UserError]) -> Batch | UserError:
    errors = (sample for sample in samples if isinstance(sample, UserError))
    return next(errors, None) or default_collate(samples)


@contextmanager
def read_ahead(samples: Samples, batches: Batches, *, num_workers: int, pin: bool) -> Iterator[Iterator[Batch]]:
    """The batches, read by num_workers processes (0: this one), which are gone when the block ends.

    pin: into page-locked memory, from which copies to the GPU need not wait. The iterator raises a sample's UserError.
    """
    loader: DataLoader = DataLoader(
        _ErrorsAsValues(samples),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=pin,
        # its own generator: the loader would otherwise draw from the one that dropout uses
        generator=torch.Generator(),
        worker_init_fn=start_reader,
    )
    source = iter(loader)
    try:
        yield _raising(source)
    finally:
        _end_workers(source)


def _raising(source: Iterator[Batch | UserError]) -> Iterator[Batch]:
    for batch in source:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _end_workers(source: Any) -> None:
    """Asks the loader's workers to end, and kills those that do not: the interpreter would wait for them."""
    workers = getattr(source, "_workers", [])
    if not workers:
        return
    killer = Timer(GRACE_SECONDS, lambda: [worker.kill() for worker in workers])
    killer.start()
    try:
        with suppress(RuntimeError):  # torch reports a killed worker; the error that ended the block says more
            source._shutdown_workers()
    finally:
        killer.cancel()
