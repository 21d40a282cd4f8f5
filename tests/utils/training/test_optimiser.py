"""The parameter groups of an optimiser, its construction, and its state in checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.cam_net import build_cam_net
from utils.errors import UserError
from utils.training.optimiser import make_optimizer, parameter_groups, restore_optimizer, set_rates
from utils.training.settings import Optimiser


class Net(nn.Module):
    """One pretrained and one new layer."""

    def __init__(self, kinds=None):
        super().__init__()
        self.kinds = KINDS if kinds is None else kinds
        self.old = nn.Linear(2, 3)
        self.fresh = nn.Linear(3, 2)

    def parameter_kinds(self):
        return self.kinds


KINDS = {"old.weight": "pretrained", "old.bias": "pretrained", "fresh.weight": "new", "fresh.bias": "new"}


def optimizer_of(net, settings):
    return make_optimizer(net, parameter_groups([net], lr=0.01, new_lr_factor=10), settings)


def test_groups_are_complete_and_learn_at_four_rates():
    net = Net()
    groups = parameter_groups([net], lr=0.01, new_lr_factor=10)
    held = {id(group["params"][0]): group["base_lr"] for group in groups}
    assert [len(group["params"]) for group in groups] == [1, 1, 1, 1]
    assert held[id(net.old.weight)] == pytest.approx(0.01)
    assert held[id(net.old.bias)] == pytest.approx(0.02)
    assert held[id(net.fresh.weight)] == pytest.approx(0.1)
    assert held[id(net.fresh.bias)] == pytest.approx(0.2)


def test_frozen_parameters_stand_in_no_group():
    net = Net()
    net.old.requires_grad_(False)
    groups = parameter_groups([net], lr=0.01, new_lr_factor=10)
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(map(id, net.fresh.parameters()))


@pytest.mark.parametrize("kind", [None, "attention"])
def test_a_parameter_without_a_kind_is_an_error(kind):
    kinds = {name: k for name, k in KINDS.items() if name != "fresh.weight"}
    if kind:
        kinds["fresh.weight"] = kind
    with pytest.raises(ValueError, match=r"fresh\.weight.*pretrained, new"):
        parameter_groups([Net(kinds)], lr=0.01, new_lr_factor=10)


def test_a_parameter_in_two_groups_or_in_none_is_an_error():
    net = Net()
    groups = parameter_groups([net], lr=0.01, new_lr_factor=10)
    for wrong in (groups[1:], [*groups, groups[0]]):
        with pytest.raises(ValueError, match="optimiser groups"):
            make_optimizer(net, wrong, Optimiser("sgd", lr=0.01))


def test_linear_layers_of_attention_and_suppression_are_new():
    net = build_cam_net("resnet38", 2, width=0.0625, attention="se", suppression="learnable")
    kinds = net.parameter_kinds()
    linear = [name for name in kinds if "se_layer" in name or "DRS_" in name]
    assert len(linear) == 6
    assert {kinds[name] for name in linear} == {"new"}
    assert kinds["b6.conv_branch2a.weight"] == "pretrained"


def test_rates_are_base_rates_times_the_factor():
    groups = parameter_groups([Net()], lr=0.01, new_lr_factor=10)
    optimizer = torch.optim.SGD(groups, lr=1.0)
    for factor in (0.5, 0.1):  # the second does not build on the first
        set_rates(optimizer, factor)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([r * factor for r in (0.01, 0.02, 0.1, 0.2)])


def test_settings_reach_the_optimiser_under_their_own_names():
    settings = Optimiser("sgd", lr=0.1, momentum=0.8, nesterov=False, weight_decay=3e-4)
    optimizer = optimizer_of(Net(), settings)
    assert isinstance(optimizer, torch.optim.SGD) and len(optimizer.param_groups) == 4
    for group in optimizer.param_groups:
        assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.8, 3e-4, False)
    adamw = optimizer_of(Net(), Optimiser("adamw", lr=0.1, weight_decay=3e-4))
    assert isinstance(adamw, torch.optim.AdamW) and adamw.param_groups[0]["weight_decay"] == 3e-4


def restored(optimizer, saved):
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    restore_optimizer(optimizer, scaler, {"optimizer": saved, "scaler": {}}, path=Path("a.pth"))


def test_a_restored_optimiser_keeps_its_momentum_and_takes_the_new_settings():
    torch.manual_seed(0)
    net = Net()
    before = optimizer_of(net, Optimiser("sgd", lr=0.1))
    net.fresh(net.old(torch.ones(1, 2))).sum().backward()
    before.step()
    after = optimizer_of(net, Optimiser("sgd", lr=0.3, momentum=0.5))
    restored(after, before.state_dict())
    assert {(group["lr"], group["momentum"]) for group in after.param_groups} == {(0.3, 0.5)}
    for parameter in net.parameters():
        buffers = [optimizer.state[parameter]["momentum_buffer"] for optimizer in (before, after)]
        assert torch.equal(*buffers)


def test_a_skipped_first_step_leaves_no_momentum():
    net = Net()
    before = [p.detach().clone() for p in net.parameters()]
    sgd, scaler = optimizer_of(net, Optimiser("sgd", lr=0.1, momentum=0.9)), torch.amp.GradScaler("cpu")
    for p in net.parameters():
        p.grad = torch.full_like(p, torch.inf)
    scaler.scale(torch.zeros(()))  # starts the scaler
    scaler.step(sgd)
    assert sgd.defaults["fused"] and all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    assert all((sgd.state[p]["momentum_buffer"] == 0).all() for p in net.parameters())


def test_another_optimiser_or_another_network_is_refused():
    saved = optimizer_of(Net(), Optimiser("sgd", lr=0.1)).state_dict()
    frozen = Net()
    frozen.old.requires_grad_(False)
    for other in (optimizer_of(Net(), Optimiser("adamw", lr=0.1)), optimizer_of(frozen, Optimiser("sgd", lr=0.1))):
        with pytest.raises(UserError, match=r"a\.pth"):
            restored(other, saved)
