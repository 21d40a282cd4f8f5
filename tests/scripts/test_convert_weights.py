"""Weights of every format are converted to the .pth that training reads."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scripts.convert_weights import ConvertOptions, run
from tests.golden_recipe import GOLDEN, golden_shapes
from utils.errors import UserError
from utils.training.checkpoint import write_checkpoint
from utils.training.mxnet_params import read_params, to_resnet38
from utils.training.weights import read_weights


def test_an_mxnet_file_becomes_state_dict_names(tmp_path):
    out = run(ConvertOptions(str(GOLDEN / "mxnet_legacy.params"), str(tmp_path / "r38.pth")))
    expected, found = to_resnet38(read_params(GOLDEN / "mxnet_legacy.params")), read_weights(out)
    assert found.keys() == expected.keys() and "conv1a.weight" in found
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_safetensors_are_read_too(tmp_path):
    save_file({"a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    out = run(ConvertOptions(str(tmp_path / "w.safetensors"), str(tmp_path / "w.pth")))
    assert torch.equal(read_weights(out)["a"], torch.arange(3.0))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.params"):
        run(ConvertOptions(str(tmp_path / "nothing.params"), str(tmp_path / "w.pth")))


def published(tmp_path, content):
    """Convert a checkpoint with --to=published and return the content."""
    write_checkpoint(tmp_path / "ours.pth", content)
    out = run(ConvertOptions(str(tmp_path / "ours.pth"), str(tmp_path / "theirs.pth"), to="published"))
    return torch.load(out, weights_only=True)


@pytest.fixture(scope="module")
def shapes():
    """Names and shapes of the published classifier."""
    return golden_shapes("resnet38_l2g_keys.tsv")


def classifier(shapes):
    """A checkpoint of train_l2g.py: two networks of the published names, and what resuming needs."""
    # without memory for values: only names and counts matter
    networks = [{name: torch.zeros(()).expand(shape) for name, shape in shapes.items()} for _ in range(2)]
    own = {"optimizer": {"state": {}, "param_groups": []}, "scaler": {}, "step": 20, "steps_per_epoch": 2}
    return {"state_dict": networks[0], "local_dict": networks[1], **own, "options": {"lr": 0.002}, "epoch": 9}


class Wrapped(nn.Module):
    """Load like the published code: inside DataParallel, strictly."""

    def __init__(self, shapes):
        super().__init__()
        self.names = set(shapes)

    def load_state_dict(self, state, strict=True):
        assert strict and set(state) == {f"module.{name}" for name in self.names}


def test_the_published_training_loads_both_networks_strictly(tmp_path, shapes):
    content = published(tmp_path, classifier(shapes))
    assert set(content) == {"state_dict", "local_dict", "epoch", "optimizer"} and content["epoch"] == 9
    for network in ("state_dict", "local_dict"):
        Wrapped(shapes).load_state_dict(content[network])
        assert {name: tuple(tensor.shape) for name, tensor in content[network].items()} == {
            f"module.{name}": tuple(shape) for name, shape in shapes.items()
        }


def test_the_published_test_finds_every_tensor_behind_seven_characters(tmp_path, shapes):
    content = published(tmp_path, classifier(shapes))
    assert {name[7:] for name in content["state_dict"]} == set(shapes) and len(shapes) == 238


def test_the_published_optimizer_finds_its_eight_groups(tmp_path, shapes):
    state = published(tmp_path, classifier(shapes))["optimizer"]
    assert [len(group["params"]) for group in state["param_groups"]] == [43, 43, 0, 0, 4, 4, 0, 0]
    rates = [group["lr"] for group in state["param_groups"]]
    assert rates == pytest.approx([0.002, 0.002, 0.004, 0.004, 0.02, 0.02, 0.04, 0.04])
    groups = [{"params": [nn.Parameter(torch.zeros(1)) for _ in g["params"]]} for g in state["param_groups"]]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[4]["lr"] == pytest.approx(0.02)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    optimizer.step()


def test_attentions_convolutions_join_the_published_groups_of_the_backbone(tmp_path, shapes):
    more = {"sa_layer6.conv.weight": (1, 2, 7, 7), "sa_layer6.conv.bias": (1,), "eca_layer6.conv.weight": (1, 1, 3)}
    state = published(tmp_path, classifier({**shapes, **more}))["optimizer"]
    assert [len(group["params"]) for group in state["param_groups"]] == [44, 44, 1, 1, 4, 4, 0, 0]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_segmentation_checkpoint_becomes_the_bare_state_dict(tmp_path, prefix):
    shapes = golden_shapes("deeplabv2_resnet101_msc_keys.tsv")
    weights = {prefix + name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    content = {"state_dict": weights, "optimizer": {}, "step": 3, "settings": {}, "facts": {}}
    assert {name: tuple(t.shape) for name, t in published(tmp_path, content).items()} == shapes


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"conv_stem.weight": torch.zeros(1)}, "local_dict": {"conv_stem.weight": torch.zeros(1)}},
        {"state_dict": {"classifier.weight": torch.zeros(1)}},
        {"state_dict": {"layer1": 3}},
    ],
)
def test_networks_that_the_published_programs_do_not_have_are_refused(tmp_path, content):
    with pytest.raises(UserError) as raised:
        published(tmp_path, content)
    assert raised.value.where == str(tmp_path / "ours.pth") and not (tmp_path / "theirs.pth").exists()
