"""State dicts of any origin: containers, prefixes, foreign names, and error messages."""

import pytest
import torch

from models.errors import WeightsError
from models.weights import fit, tensors_in, without_shared_prefix

OWN = {"conv.weight": torch.zeros(2, 3), "bn.weight": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(0)}
GIVEN = {"bn.weight": torch.ones(2), "conv.weight": torch.ones(2, 3), "fc.weight": torch.ones(9)}


@pytest.mark.parametrize("container", ["state_dict", "model", "model_ema", "state_dict_ema", "generator"])
def test_containers_are_taken_off(container):
    assert tensors_in({container: GIVEN, "epoch": 3}).keys() == GIVEN.keys()
    assert tensors_in({"model": {"state_dict": GIVEN}}).keys() == GIVEN.keys()


def test_the_named_container_is_taken_first():
    content = {"state_dict": {"a": torch.zeros(1)}, "local_dict": {"b": torch.zeros(1)}}
    assert list(tensors_in(content, which="local_dict")) == ["b"]


@pytest.mark.parametrize(
    ("content", "which"),
    [
        ({"state_dict": 3, "local_dict": GIVEN}, "state_dict"),
        ({"local_dict": GIVEN, "epoch": 1}, "state_dict"),
        ({"state_dict": GIVEN, "local_dict": None}, "local_dict"),
    ],
)
def test_the_weights_of_one_network_never_stand_for_those_of_the_other(content, which):
    with pytest.raises(WeightsError, match="local_dict"):
        tensors_in(content, which=which)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), None, 3, {}, {"step": 3}, {"weights": {"w": [1]}}])
def test_content_without_a_state_dict_is_an_error_that_says_what_it_is(content):
    with pytest.raises(WeightsError) as error:
        tensors_in(content)
    shown = content if isinstance(content, dict) else [type(content).__name__]
    assert all(name in str(error.value) for name in shown)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "timm_model.", "backbone.", "module.backbone."])
def test_weights_are_found_by_name_behind_any_prefix(prefix):
    found = fit(OWN, {prefix + name: tensor for name, tensor in GIVEN.items()}, network="net")
    assert found.keys() == {"conv.weight", "bn.weight"} and torch.equal(found["bn.weight"], torch.ones(2))


def test_names_of_other_layers_that_end_alike_do_not_mislead():
    own = {"conv.weight": torch.zeros(1), "bn.weight": torch.zeros(1)}
    given = {
        "inner.conv.weight": torch.ones(1),
        "module.conv.weight": torch.zeros(1),
        "module.bn.weight": own["conv.weight"],
    }
    assert torch.equal(fit(own, given, network="net")["conv.weight"], torch.zeros(1))


def test_an_exact_fit_refuses_further_tensors():
    with pytest.raises(WeightsError) as error:
        fit(OWN, GIVEN, network="net", exact=True)
    assert error.value.misfit.unexpected == ["fc.weight"]
    wrapped = {f"module.{name}": tensor for name, tensor in GIVEN.items() if name != "fc.weight"}
    assert len(fit(OWN, wrapped, network="net", exact=True)) == 2


def test_what_does_not_fit_is_listed_with_the_explanation():
    with pytest.raises(WeightsError) as error:
        fit(OWN, {"conv.weight": torch.ones(3, 2)}, network="net", explain=lambda misfit: f"{misfit.wanted} wanted")
    assert error.value.misfit.missing == ["bn.weight"] and len(error.value.misfit.misshapen) == 1
    assert error.value.valid == "3 wanted" and error.value.network == "net"


def test_weights_under_foreign_names_are_found_by_order_where_that_is_allowed():
    given = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2), "b.num_batches_tracked": torch.tensor(7)}
    given["classifier.weight"] = torch.ones(5)
    found = fit(OWN, given, network="net", by_order=True)
    assert torch.equal(found["conv.weight"], given["a.weight"]) and torch.equal(found["bn.weight"], given["b.weight"])
    with pytest.raises(WeightsError):
        fit(OWN, given, network="net")


@pytest.mark.parametrize(
    "given",
    [
        {"b.weight": torch.ones(2), "a.weight": torch.ones(2, 3)},
        {"a.weight": torch.ones(2, 3), "b.bias": torch.ones(2)},
        {"a.weight": torch.ones(2, 3)},
    ],
)
def test_another_order_another_kind_or_fewer_tensors_do_not_fit(given):
    with pytest.raises(WeightsError) as error:
        fit(OWN, given, network="net", by_order=True)
    assert error.value.misfit.missing == ["conv.weight", "bn.weight"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_refused_by_name(value):
    with pytest.raises(WeightsError, match=r"bn\.weight"):
        fit(OWN, GIVEN | {"bn.weight": torch.tensor([0.0, value])}, network="net")


def test_a_prefix_is_dropped_where_all_names_share_it():
    assert list(without_shared_prefix({"m.a.x": OWN["bn.weight"], "m.a.y": OWN["bn.weight"]})) == ["x", "y"]
    assert list(without_shared_prefix({"m.x": OWN["bn.weight"], "y": OWN["bn.weight"]})) == ["m.x", "y"]
