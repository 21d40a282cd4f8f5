import numpy as np
import pytest
import torch

from models import build_cam_net
from tests.golden_recipe import GOLDEN, golden_arrays
from tests.small_weights import write_small_resnet38
from utils.errors import UserError
from utils.training.mxnet_params import read_params, to_resnet38

FILES = ["mxnet_v2.params", "mxnet_legacy.params"]


@pytest.mark.parametrize("file", FILES)
def test_both_layouts_are_read_as_mxnet_reads_them(file):
    arrays = read_params(GOLDEN / file)
    expected = {name.replace("|", ":"): array for name, array in golden_arrays("mxnet_expected.npz").items()}
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_one_clear_error(tmp_path, file):
    data, path = (GOLDEN / file).read_bytes(), tmp_path / "cut.params"
    for size in [*range(0, 200), *range(200, len(data), 53), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(UserError, match=r"cut\.params"):
            read_params(path)


def test_other_files_are_errors(tmp_path):
    path, data = tmp_path / "other.params", (GOLDEN / FILES[0]).read_bytes()
    for content in (b"PK\x03\x04" * 100, data + b"\0", data[:16] + b"\xff" * 8 + data[24:], data[:-3] + b"\xff" * 3):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"other\.params"):
            read_params(path)


def test_names_become_those_of_the_network():
    arrays = read_params(GOLDEN / FILES[0])
    state = to_resnet38(arrays)
    assert set(state) <= set(build_cam_net("resnet38", 3, width=1 / 16).state_dict())
    assert len(state) == len(arrays) - 2  # the classifier's weight and bias
    pairs = {
        "arg:res2b1_branch2b1_weight": "b2_1.conv_branch2b1.weight",
        "aux:bn2a_branch2a_moving_var": "b2.bn_branch2a.running_var",
        "arg:bn7_gamma": "bn7.weight",
        "arg:conv1a_weight": "conv1a.weight",
    }
    for published, own in pairs.items():
        assert torch.equal(state[own], torch.from_numpy(arrays[published]))


def test_every_layer_of_the_network_has_a_published_name(tmp_path):
    file = write_small_resnet38(tmp_path / "small.params", width=1 / 16)
    torch.manual_seed(0)
    own = build_cam_net("resnet38", 1, width=1 / 16).state_dict()
    published = {name for name in own if not name.startswith("f") and not name.endswith("num_batches_tracked")}
    state = to_resnet38(read_params(file))
    assert state.keys() == published and all(torch.equal(state[name], own[name]) for name in state)


@pytest.mark.parametrize("name", ["arg:fc1_weight", "arg:res2a_branch2a_gamma", "arg:bn9a_branch2a_gamma"])
def test_arrays_of_another_network_are_an_error(name):
    with pytest.raises(UserError, match=name):
        to_resnet38({name: np.zeros(3, np.float32)})
