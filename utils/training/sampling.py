"""Which samples a training step draws, and the loader that reads them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from utils.files.parallel import leave_signals_to_main


class StreamBatches(Sampler[list[tuple[int, int]]]):
    """The batches of one process in a run counted in steps: batches of (epoch, index).

    The images are drawn epoch after epoch without a gap, each epoch shuffled by (seed, epoch), so that a step may hold
    the end of one epoch and the beginning of the next. A step takes batch_size * accumulate * world_size images, the
    same ones however many processes share them.
    """

    def __init__(
        self, num_images: int, *, batch_size: int, accumulate: int, rank: int, world_size: int, seed: int
    ) -> None:
        self.num_images, self.batch_size, self.accumulate = num_images, batch_size, accumulate
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.first_step = self.last_step = 0

    def start(self, first_step: int, last_step: int) -> None:
        """Chooses the steps, first_step to last_step - 1, of the next iteration."""
        self.first_step, self.last_step = first_step, last_step

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        stride = self.batch_size * self.world_size
        epoch, order = -1, np.empty(0, np.int64)
        for number in range(self.first_step * self.accumulate, self.last_step * self.accumulate):
            first = number * stride + self.rank * self.batch_size
            batch = []
            for place in range(first, first + self.batch_size):
                if place // self.num_images != epoch:
                    epoch = place // self.num_images
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.num_images)
                batch.append((epoch, int(order[place % self.num_images])))
            yield batch


def make_loader(dataset: Dataset, batches: Sampler, *, num_workers: int, pin: bool) -> DataLoader:
    """Workers live as long as the loader; each uses one thread, for the cores are shared out among them."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin,
        # its own generator: the loader would otherwise draw from the one that dropout uses
        generator=torch.Generator(),
        worker_init_fn=leave_signals_to_main,
    )
