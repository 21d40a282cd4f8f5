"""The moving average of weights: its values, and its state in checkpoints."""

import pytest
import torch
from torch import nn

from tests.utils.training.test_trainer import Linear, make_trainer
from utils.errors import UserError
from utils.training.averaging import WeightAverage
from utils.training.checkpoint import LIVE, read_checkpoint


def test_average_is_the_recurrence_computed_by_hand():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 8.0)
    average = WeightAverage(network, decay=0.15)
    expected = 8.0
    for step, (value, kept) in enumerate(((0.0, 1 / 10), (4.0, 0.15), (-2.0, 0.15))):
        nn.init.constant_(network.weight, value)
        average.update(step)
        expected = kept * expected + (1 - kept) * value
        assert average.values["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert network.weight.item() == -2


def test_buffers_are_averaged_and_counters_copied():
    norm = nn.BatchNorm1d(2)
    average = WeightAverage(norm, decay=0.5)
    norm.running_mean.fill_(10.0)
    norm.num_batches_tracked.fill_(7)
    average.update(100)
    assert average.values["running_mean"].tolist() == [5, 5]
    assert average.values["num_batches_tracked"] == 7


def test_network_holds_the_average_only_for_a_while():
    network = nn.Linear(2, 2)
    average = WeightAverage(network, decay=0.9)
    own = network.weight.detach().clone()
    nn.init.zeros_(network.weight)
    with average.in_place():
        assert torch.equal(network.weight, own)
    assert not network.weight.any()


def test_checkpoint_holds_the_average_as_the_network_and_what_moves_beside_it(tmp_path):
    task = Linear()
    state = read_checkpoint(make_trainer(tmp_path, task, average=0.9).fit())
    assert torch.equal(state[LIVE]["weight"], task.network.weight)
    assert not torch.allclose(state["state_dict"]["weight"], task.network.weight)
    plain = Linear()
    make_trainer(tmp_path / "plain", plain).fit()
    assert torch.equal(plain.network.weight, task.network.weight)  # averaging has no effect


def test_resumed_average_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = read_checkpoint(make_trainer(tmp_path / "whole", Linear(), average=0.9).fit())
    latest = tmp_path / "whole" / "model" / "toy_iter_2.pth"
    again = read_checkpoint(make_trainer(tmp_path / "again", Linear(), average=0.9, latest=latest).fit())
    for key in ("state_dict", LIVE):
        assert all(torch.equal(again[key][name], value) for name, value in whole[key].items())


@pytest.mark.parametrize(("then", "now"), [(0.9, 0.0), (0.0, 0.9)])
def test_a_run_does_not_begin_or_end_to_average_on_the_way(tmp_path, then, now):
    make_trainer(tmp_path, Linear(), average=then).fit()
    latest = tmp_path / "model" / "toy_iter_2.pth"
    with pytest.raises(UserError, match="averaged"):
        make_trainer(tmp_path / "again", Linear(), average=now, latest=latest).fit()
