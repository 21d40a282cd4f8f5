import pytest
import torch
from torch import nn

from models.attention import ATTENTION, attention_names, build_attention
from models.errors import ModelOptionError
from tests.golden_recipe import assert_matches, golden_arrays, golden_input, golden_module_shapes, golden_weight


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_gives_the_published_numbers(name):
    module, shapes = build_attention(name, 64).eval(), golden_module_shapes()[name]
    assert {key: list(value.shape) for key, value in module.state_dict().items()} == shapes
    state = {key: golden_weight(f"{name}.{key}", shape) for key, shape in shapes.items()}
    if "gamma" in state:
        state["gamma"] = torch.full((1,), 0.7)
    module.load_state_dict(state)
    with torch.no_grad():
        output = module(golden_input(f"open-mod-{name}", (2, 64, 9, 11)))
    assert_matches(output, golden_arrays("modules.npz")[name])


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("shape", [(2, 8, 5, 3), (1, 3, 1, 1), (2, 16, 7, 1)])
def test_attention_takes_few_channels_and_any_map(name, shape):
    torch.manual_seed(0)
    output = build_attention(name, shape[1]).eval()(torch.randn(shape))
    assert output.shape == shape and output.isfinite().all()


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_runs_in_bfloat16_and_channels_last(name):
    torch.manual_seed(0)
    module, x = build_attention(name, 16).eval(), torch.randn(2, 16, 6, 5)
    with torch.no_grad():
        expected = module(x)
        torch.testing.assert_close(module(x.contiguous(memory_format=torch.channels_last)), expected)
        with torch.autocast("cpu", torch.bfloat16):
            half = module(x)
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["cam", "pam"])
def test_danet_attention_starts_as_identity(name):
    x = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(build_attention(name, 8)(x), x)


def test_none_is_identity():
    assert isinstance(build_attention("none", 8), nn.Identity)


def test_a_sum_adds_the_outputs_of_its_parts():
    torch.manual_seed(0)
    both, x = build_attention("se+sa", 16), torch.randn(2, 16, 5, 4)
    assert {name for name, _ in both.named_children()} == {"se_layer", "sa_layer"}
    torch.testing.assert_close(both(x), both.se_layer(x) + both.sa_layer(x))


def test_names_of_a_spec():
    assert attention_names("none") == ()
    assert attention_names("psa_channel+psa_spatial") == ("psa_channel", "psa_spatial")


@pytest.mark.parametrize("spec", ["sse", "se+", "se+none", ""])
def test_an_unknown_name_is_an_error_that_lists_the_legal_ones(spec):
    with pytest.raises(ModelOptionError) as error:
        build_attention(spec, 8)
    assert (error.value.option, error.value.value) == ("attention", spec)
    assert all(name in error.value.valid for name in ATTENTION)


def test_a_repeated_name_is_an_error():
    with pytest.raises(ModelOptionError):
        attention_names("se+se")
