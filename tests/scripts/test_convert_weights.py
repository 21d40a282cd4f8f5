"""Weights of every form come out as the .pth that training reads."""

import pytest
import torch
from safetensors.torch import save_file

from scripts.convert_weights import ConvertOptions, run
from tests.golden_recipe import GOLDEN
from utils.errors import UserError
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
