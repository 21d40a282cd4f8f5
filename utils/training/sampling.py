"""Determines the samples of every training step."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from utils.training.settings import Sampling

SampleKey = tuple[int | bool, ...]  # epoch, index, and further values that the dataset needs


class Batches(Sampler[list[SampleKey]]):
    """The batches of one process from first_step to last_step - 1: lists of (epoch, index, *variant).

    Each epoch is shuffled by (seed, epoch). A step draws the same images for any number of processes.
    """

    def __init__(
        self, num_images: int, sampling: Sampling, *, steps: tuple[int, int], rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_images, self.sampling = num_images, sampling
        self.rank, self.world_size = rank, world_size
        self.first_step, self.last_step = steps
        self.epoch_images = num_images  # images per epoch
        if sampling.whole_epochs:
            step = sampling.batch_size * sampling.accumulate * world_size
            self.epoch_images = step * sampling.steps_per_epoch(num_images, world_size)

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.sampling.accumulate

    def __iter__(self) -> Iterator[list[SampleKey]]:
        size, accumulate = self.sampling.batch_size, self.sampling.accumulate
        epoch, order = -1, np.empty(0, np.int64)
        for number in range(self.first_step * accumulate, self.last_step * accumulate):
            first = (number * self.world_size + self.rank) * size
            batch: list[SampleKey] = []
            for place in range(first, first + size):
                if place // self.epoch_images != epoch:
                    epoch = place // self.epoch_images
                    order = np.random.default_rng([self.sampling.seed, epoch]).permutation(self.num_images)
                index = int(order[place % self.epoch_images])
                batch += [(epoch, index, *variant) for variant in self.sampling.variants]
            yield batch
