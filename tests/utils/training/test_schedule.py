"""Learning rates by step, and the parameter groups that they steer."""

import numpy as np
import pytest
import torch
from torch import nn

from models.cam_net import build_cam_net
from scripts import train
from tests.golden_recipe import GOLDEN
from tests.small_training import small_options
from utils.training.schedule import parameter_groups, poly, set_rates, step_decay, warm_up


class Net(nn.Module):
    """One pretrained and one new layer."""

    def __init__(self):
        super().__init__()
        self.old = nn.Linear(2, 3)
        self.fresh = nn.Linear(3, 2)


KINDS = {"old.weight": "pretrained", "old.bias": "pretrained", "fresh.weight": "new", "fresh.bias": "new"}


def test_poly_gives_the_published_rates():
    published = np.load(GOLDEN / "poly_lr.npy", allow_pickle=False)
    rates = [2.5e-4 * poly(step, 1000, power=0.9, every=10) for step in range(1, 1001)]
    np.testing.assert_allclose(rates, published, rtol=1e-6, atol=1e-12)


def test_poly_by_hand():
    assert poly(0, 10, power=0.9) == 1
    assert poly(5, 10, power=2.0) == pytest.approx(0.25)
    assert poly(5, 10, power=1.0, every=4) == pytest.approx(0.6)
    assert poly(11, 10, power=0.9) == 0


def test_step_decay_multiplies_from_each_decay_epoch_on():
    factors = [step_decay(epoch, (4, 2), factor=0.1) for epoch in range(6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert step_decay(100, (), factor=0.1) == 1


def test_warm_up_rises_linearly_and_ends():
    assert [warm_up(step, 4, start=0.2) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert warm_up(0, 0, start=0.01) == 1


def test_rate_is_a_function_of_the_step_alone(tmp_path):
    options = small_options(tmp_path, epochs=10, decay_epochs=(5,))
    # asked in any order, from anywhere, as a resumed run asks
    assert train.rate_factor(options, 50, steps_per_epoch=10) == pytest.approx(0.1)
    assert train.rate_factor(options, 99, steps_per_epoch=10) == pytest.approx(0.1)
    assert train.rate_factor(options, 49, steps_per_epoch=10) == 1


def test_poly_and_warm_up_go_together(tmp_path):
    options = small_options(tmp_path, epochs=2, schedule="poly", poly_power=1.0, warmup_steps=10)
    factors = [train.rate_factor(options, step, steps_per_epoch=10) for step in (0, 5, 10, 15)]
    assert factors == pytest.approx([0.01, 0.75 * (0.01 + 0.99 * 0.5), 0.5, 0.25])


def test_groups_are_complete_and_learn_at_four_rates():
    net = Net()
    groups = parameter_groups([net], lambda _: KINDS, lr=0.01, new_lr_factor=10)
    held = {id(group["params"][0]): group["base_lr"] for group in groups}
    assert [len(group["params"]) for group in groups] == [1, 1, 1, 1]
    assert held[id(net.old.weight)] == pytest.approx(0.01)
    assert held[id(net.old.bias)] == pytest.approx(0.02)
    assert held[id(net.fresh.weight)] == pytest.approx(0.1)
    assert held[id(net.fresh.bias)] == pytest.approx(0.2)


def test_frozen_parameters_stand_in_no_group():
    net = Net()
    net.old.requires_grad_(False)
    groups = parameter_groups([net], lambda _: KINDS, lr=0.01, new_lr_factor=10)
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(map(id, net.fresh.parameters()))


@pytest.mark.parametrize("kind", [None, "attention"])
def test_a_parameter_without_a_kind_is_an_error(kind):
    kinds = {name: k for name, k in KINDS.items() if name != "fresh.weight"}
    if kind:
        kinds["fresh.weight"] = kind
    with pytest.raises(ValueError, match=r"fresh\.weight.*legal are pretrained, new"):
        parameter_groups([Net()], lambda _: kinds, lr=0.01, new_lr_factor=10)


def test_a_parameter_in_two_networks_is_an_error():
    net = Net()
    with pytest.raises(ValueError, match="two optimiser groups"):
        parameter_groups([net, net], lambda _: KINDS, lr=0.01, new_lr_factor=10)


def test_linear_layers_of_attention_and_suppression_are_new():
    net = build_cam_net("resnet38", 2, width=0.0625, attention="se", suppression="learnable")
    kinds = net.parameter_kinds()
    linear = [name for name in kinds if "se_layer" in name or "DRS_" in name]
    assert len(linear) == 6
    assert {kinds[name] for name in linear} == {"new"}
    assert kinds["b6.conv_branch2a.weight"] == "pretrained"


def test_rates_are_base_rates_times_the_factor():
    groups = parameter_groups([Net()], lambda _: KINDS, lr=0.01, new_lr_factor=10)
    optimizer = torch.optim.SGD(groups, lr=1.0)
    for factor in (0.5, 0.1):  # the second does not build on the first
        set_rates(optimizer, factor)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([r * factor for r in (0.01, 0.02, 0.1, 0.2)])


def test_options_reach_the_optimiser_under_their_own_names(tmp_path):
    options = small_options(tmp_path, momentum=0.8, weight_decay=3e-4, nesterov=False, lr=0.1, global_cls_weight=1.0)
    model = train.build_model(options, 2, fresh=True)
    for group in train.make_optimizer(model, options).param_groups:
        assert group["momentum"] == 0.8
        assert group["weight_decay"] == 3e-4
        assert group["nesterov"] is False
