"""Which images a step of a run counted in steps draws."""

from collections import Counter

import pytest

from utils.training.sampling import StreamBatches


def batches(count=5, first=0, last=10, **changes):
    options = {"batch_size": 2, "accumulate": 1, "rank": 0, "world_size": 1, "seed": 0, **changes}
    sampler = StreamBatches(count, **options)
    sampler.start(first, last)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def test_every_image_comes_once_an_epoch_without_a_gap():
    keys = [key for batch in batches(last=10) for key in batch]
    assert Counter(keys) == Counter((epoch, index) for epoch in range(4) for index in range(5))
    assert [epoch for epoch, _ in keys] == sorted(epoch for epoch, _ in keys)
    orders = {tuple(index for e, index in keys if e == epoch) for epoch in range(4)}
    assert len(orders) > 1


def test_a_run_that_goes_on_draws_what_the_whole_run_draws():
    assert batches(last=4) + batches(first=4, last=10) == batches(last=10)


def test_a_step_may_be_larger_than_the_data_set():
    keys = [key for batch in batches(count=3, last=2, batch_size=4, accumulate=2) for key in batch]
    assert len(keys) == 16 and len(set(keys)) == 16


@pytest.mark.parametrize("shared", [{"batch_size": 2, "accumulate": 2}, {"batch_size": 1, "accumulate": 4}])
def test_a_step_draws_the_same_images_however_it_is_divided(shared):
    whole = batches(batch_size=4, last=3)
    parts = batches(last=3, **shared)
    flat = [key for batch in parts for key in batch]
    assert flat == [key for batch in whole for key in batch]


def test_processes_share_a_step_out():
    whole = batches(batch_size=4, last=3)
    ranks = [batches(batch_size=2, world_size=2, rank=rank, last=3) for rank in (0, 1)]
    assert [one + two for one, two in zip(*ranks)] == whole


def test_another_seed_gives_another_order():
    assert batches(seed=0) != batches(seed=1)
