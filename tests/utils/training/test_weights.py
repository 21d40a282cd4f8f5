"""Weights files of every kind: read, or refused by name."""

import re

import pytest
import torch
from safetensors.torch import save_file

from models.weights import tensors_in
from utils.errors import UserError
from utils.training.weights import read_weights, require_weights

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3)}


def test_weights_are_read_from_both_kinds_of_file(tmp_path):
    torch.save({"state_dict": WEIGHTS}, tmp_path / "wrapped.pth")
    torch.save(WEIGHTS, tmp_path / "plain.pth")
    save_file(WEIGHTS, tmp_path / "plain.safetensors")
    for name in ("wrapped.pth", "plain.pth", "plain.safetensors"):
        read = tensors_in(read_weights(tmp_path / name))
        assert read.keys() == WEIGHTS.keys() and torch.equal(read["conv.weight"], WEIGHTS["conv.weight"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".params"])
@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"<!DOCTYPE html><html></html>", b"\n<HTML>", b"version https://git-lfs.github.com/spec/v1\n"],
)
def test_a_file_of_something_else_is_a_users_error_that_names_it(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert error.value.where == str(path)
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_a_users_error_that_names_it(tmp_path):
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "absent.params")
    assert error.value.where == str(tmp_path / "absent.params")


def test_a_file_with_code_is_refused_without_advice_to_run_it(tmp_path):
    torch.save({"state_dict": WEIGHTS, "pattern": re.compile("a")}, tmp_path / "a.pth")
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "a.pth")
    assert error.value.where == str(tmp_path / "a.pth") and "re._compile" in error.value.what
    assert "weights_only" not in str(error.value) and "safe_globals" not in str(error.value)


FROZEN = {"--frozen_stages": (2, 0), "--freeze_batch_norm": (True, False)}


@pytest.mark.parametrize("source", [None, "none"])
def test_random_weights_may_not_be_frozen(source):
    with pytest.raises(UserError) as error:
        require_weights(source, "--init_weights", frozen=FROZEN)
    for option in ("--init_weights", "--frozen_stages=0", "--freeze_batch_norm=false"):
        assert option in error.value.remedy


def test_weights_or_free_layers_pass():
    require_weights("a.pth", "--init_weights", frozen=FROZEN)
    require_weights("none", "--init_weights", frozen={"--frozen_stages": (0, 0), "--freeze_batch_norm": (False, False)})
