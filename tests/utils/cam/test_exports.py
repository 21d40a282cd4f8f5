"""Exports can be read by the published programs, and theirs can be read here."""

import numpy as np
import pytest
import torch

from utils.cam.exports import affinity_export, irn_export, psa_export, read_exported_cam
from utils.errors import UserError
from utils.files.npy_dict import write_npy_dict

HEIGHT, WIDTH = 5, 7


@pytest.fixture
def maps():
    """Strided and high-resolution CAMs of two tags."""
    torch.manual_seed(0)
    return torch.rand(2, 2, 2), torch.rand(2, HEIGHT, WIDTH)


def loaded(path):
    """Read a dictionary like the published programs."""
    return np.load(path, allow_pickle=True).item()


def test_irn_finds_tensors_where_its_steps_call_cuda(tmp_path, maps):
    write_npy_dict(tmp_path / "a.npy", irn_export((3, 11), *maps))
    content = loaded(tmp_path / "a.npy")
    assert torch.equal(content["keys"], torch.tensor([3, 11])) and torch.equal(content["cam"], maps[0])
    assert content["cam"].dtype == torch.float32 and content["cam"].is_contiguous()
    # make_sem_seg_labels: keys = np.pad(cam_dict["keys"] + 1, (1, 0), mode="constant")
    assert np.pad(content["keys"] + 1, (1, 0), mode="constant").tolist() == [0, 4, 12]
    assert isinstance(content["high_res"], np.ndarray) and content["high_res"].dtype == np.float32


def test_puzzlecam_finds_an_array_of_keys_and_a_tensor_of_cams(tmp_path, maps):
    write_npy_dict(tmp_path / "a.npy", affinity_export((3, 11), *maps))
    content = loaded(tmp_path / "a.npy")
    assert isinstance(content["keys"], np.ndarray) and content["keys"].tolist() == [0, 4, 12]
    assert torch.equal(content["cam"], maps[0]) and isinstance(content["hr_cam"], np.ndarray)


def test_psa_finds_a_map_under_each_tag(tmp_path, maps):
    write_npy_dict(tmp_path / "a.npy", psa_export((3, 11), maps[1]))
    content = loaded(tmp_path / "a.npy")
    assert [type(key) for key in content] == [int, int] and list(content) == [3, 11]
    assert content[11].shape == (HEIGHT, WIDTH) and content[11].dtype == np.float32


def test_tensors_do_not_bring_the_storage_of_others_along(tmp_path):
    whole = torch.rand(20, 40, 40)
    strided = whole[[3]] / 2
    write_npy_dict(tmp_path / "a.npy", irn_export((3,), strided, whole[[3]]))
    assert (tmp_path / "a.npy").stat().st_size < 2 * 40 * 40 * 4 + 4000


def test_every_published_form_gives_the_same_keys_and_cams(tmp_path, maps):
    strided, cams = maps
    forms = {
        "irn": irn_export((3, 11), strided, cams),
        "aff": affinity_export((3, 11), strided, cams),
        "psa": psa_export((3, 11), cams),
        "walked": {"keys": np.array([0, 4, 12]), "rw": cams.numpy()},
        "tensors": {"keys": torch.tensor([0, 4, 12]), "hr_cam": cams},
    }
    for form, content in forms.items():
        np.save(tmp_path / f"{form}.npy", content, allow_pickle=True)
        keys, read = read_exported_cam(tmp_path / f"{form}.npy")
        assert keys.tolist() == [3, 11] and keys.dtype == np.int64, form
        assert np.array_equal(read, cams.numpy()), form


def test_an_image_without_tags_has_no_cams(tmp_path):
    write_npy_dict(tmp_path / "a.npy", psa_export((), torch.zeros(0, HEIGHT, WIDTH)))
    keys, cams = read_exported_cam(tmp_path / "a.npy")
    assert keys.shape == (0,) and len(cams) == 0


@pytest.mark.parametrize(
    "content",
    [
        {"keys": np.array([1, 2]), "rw": np.zeros((1, 2, 2), np.float32)},
        {"keys": np.array([0, 2]), "rw": np.zeros((2, 2, 2), np.float32)},
        {0: np.zeros((2, 2)), 1: np.zeros((2, 3))},
        {0: np.zeros((2, 2)), "keys": np.zeros(1)},
        {0: 0.5},
        {"keys": np.array([0])},
        {"keys": np.array([1]), "hr_cam": np.zeros((1, HEIGHT, WIDTH))},
        {"keys": np.array([0, 1]), "high_res": np.zeros((1, HEIGHT, WIDTH))},
    ],
)
def test_a_dictionary_of_another_form_is_refused(tmp_path, content):
    write_npy_dict(tmp_path / "a.npy", content)
    with pytest.raises(UserError) as raised:
        read_exported_cam(tmp_path / "a.npy")
    assert raised.value.where == str(tmp_path / "a.npy")
