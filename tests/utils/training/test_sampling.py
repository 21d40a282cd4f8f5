"""The images of a step: contiguous epochs, or complete steps of each epoch."""

from collections import Counter

import pytest

from utils.errors import UserError
from utils.training.sampling import Batches
from utils.training.settings import Sampling


def batches(count=5, first=0, last=10, *, rank=0, world_size=1, **changes):
    options = {"batch_size": 2, "accumulate": 1, "seed": 0, "whole_epochs": False, **changes}
    sampler = Batches(count, Sampling(**options), steps=(first, last), rank=rank, world_size=world_size)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def keys_of(drawn):
    return [key for batch in drawn for key in batch]


def test_every_image_comes_once_an_epoch_without_a_gap():
    keys = keys_of(batches(last=10))
    assert Counter(keys) == Counter((epoch, index) for epoch in range(4) for index in range(5))
    assert [epoch for epoch, _ in keys] == sorted(epoch for epoch, _ in keys)
    orders = {tuple(index for e, index in keys if e == epoch) for epoch in range(4)}
    assert len(orders) > 1


def test_whole_epochs_leave_out_what_does_not_fill_a_step():
    keys = keys_of(batches(count=7, last=9, whole_epochs=True))  # three steps per epoch
    assert Counter(epoch for epoch, _ in keys) == {0: 6, 1: 6, 2: 6}
    for epoch in range(3):
        without_gap = keys_of(batches(count=7, last=11))
        assert [k for k in keys if k[0] == epoch] == [k for k in without_gap if k[0] == epoch][:6]


def test_both_policies_give_the_sequences_of_earlier_runs():
    assert batches(count=5, last=3) == [[(0, 2), (0, 4)], [(0, 3), (0, 0)], [(0, 1), (1, 1)]]
    assert batches(count=5, last=3, whole_epochs=True) == [[(0, 2), (0, 4)], [(0, 3), (0, 0)], [(1, 1), (1, 4)]]


@pytest.mark.parametrize("whole_epochs", [False, True])
def test_a_resumed_run_draws_what_the_whole_run_draws(whole_epochs):
    parts = batches(last=4, whole_epochs=whole_epochs) + batches(first=4, last=10, whole_epochs=whole_epochs)
    assert parts == batches(last=10, whole_epochs=whole_epochs)


def test_a_step_may_be_larger_than_the_dataset():
    keys = keys_of(batches(count=3, last=2, batch_size=4, accumulate=2))
    assert len(keys) == 16 and len(set(keys)) == 16


def test_images_that_fill_no_step_of_whole_epochs_are_an_error():
    with pytest.raises(UserError, match="--batch_size"):
        batches(count=5, batch_size=3, accumulate=2, whole_epochs=True)


@pytest.mark.parametrize("whole_epochs", [False, True])
@pytest.mark.parametrize("shared", [{"batch_size": 2, "accumulate": 2}, {"batch_size": 1, "accumulate": 4}])
def test_a_step_draws_the_same_images_however_it_is_divided(shared, whole_epochs):
    whole = batches(batch_size=4, last=3, whole_epochs=whole_epochs)
    assert keys_of(batches(last=3, whole_epochs=whole_epochs, **shared)) == keys_of(whole)


@pytest.mark.parametrize("whole_epochs", [False, True])
def test_processes_divide_a_step(whole_epochs):
    whole = batches(batch_size=4, last=3, whole_epochs=whole_epochs)
    ranks = [batches(batch_size=2, world_size=2, rank=rank, last=3, whole_epochs=whole_epochs) for rank in (0, 1)]
    assert [one + two for one, two in zip(*ranks)] == whole


def test_a_batch_holds_every_variant_of_its_images():
    plain = batches(last=4)
    both = batches(last=4, variants=((False,), (True,)))
    assert both == [[(*key, twin) for key in batch for twin in (False, True)] for batch in plain]


def test_another_seed_gives_another_order():
    assert batches(seed=0) != batches(seed=1)
