import pytest
import torch
from torch import nn

from models.errors import ModelOptionError
from models.suppression import build_suppression
from tests.golden_recipe import assert_matches, golden_arrays, golden_input, golden_module_shapes, golden_weight


@pytest.mark.parametrize(("name", "golden"), [("fixed:0.55", "drs"), ("learnable", "drs_learnable")])
def test_suppression_gives_the_published_numbers(name, golden):
    module, shapes = build_suppression(name, 64).eval(), golden_module_shapes()[golden]
    assert {key: list(value.shape) for key, value in module.state_dict().items()} == shapes
    module.load_state_dict({key: golden_weight(f"{golden}.{key}", shape) for key, shape in shapes.items()})
    with torch.no_grad():
        output = module(golden_input(f"open-mod-{golden}", (2, 64, 9, 11)))
    assert_matches(output, golden_arrays("modules.npz")[golden])


def test_fixed_suppression_caps_each_channel_at_a_share_of_its_maximum():
    x = torch.tensor([[[[1.0, 4.0]], [[-1.0, 2.0]]]])
    torch.testing.assert_close(build_suppression("fixed:0.5", 2)(x), torch.tensor([[[[1.0, 2.0]], [[-1.0, 1.0]]]]))


def test_a_control_of_one_changes_nothing():
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(build_suppression("fixed:1", 3)(x), x)


def test_suppression_leaves_its_input_alone():
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    build_suppression("fixed:0.3", 3)(x)
    assert torch.equal(x, before)


def test_none_is_identity():
    assert isinstance(build_suppression("none", 8), nn.Identity)


@pytest.mark.parametrize("name", ["fixed:0", "fixed:1.5", "fixed:nan", "fixed:x", "fixed", "0.55", "learn"])
def test_an_illegal_name_is_an_error_with_the_rule(name):
    with pytest.raises(ModelOptionError) as error:
        build_suppression(name, 8)
    assert (error.value.option, error.value.value) == ("suppression", name)
