"""Folders of CAMs are read by the format of their files."""

import pickle

import numpy as np
import pytest
import torch

from utils.cam.artefact import write_cam
from utils.cam.exports import psa_export
from utils.cam.folders import CamFolder
from utils.data.images import write_image
from utils.errors import UserError
from utils.files.npy_dict import write_npy_dict

NAME = "2007_000032"  # ends like the name of an attention PNG


@pytest.fixture
def cams():
    return np.random.default_rng(0).integers(0, 256, (2, 4, 6), dtype=np.uint8)


def write_attention(folder, cams, tags=(0, 14)):
    for tag, plane in zip(tags, cams):
        write_image(folder / f"{NAME}_{tag}.png", plane)


def test_every_form_is_found_by_its_files(tmp_path, cams):
    write_cam(tmp_path / "cam" / f"{NAME}.npz", [0, 14], cams)
    write_npy_dict(tmp_path / "npy" / f"{NAME}.npy", psa_export((0, 14), torch.from_numpy(cams / np.float32(255))))
    write_attention(tmp_path / "attention", cams)
    for form in ("cam", "npy", "attention"):
        folder = CamFolder.open(tmp_path / form)
        assert folder.form == form
        keys, read = folder.files(NAME).read()
        assert keys.tolist() == [0, 14]
        np.testing.assert_allclose(read if read.dtype == np.uint8 else read * 255, cams, rtol=1e-5)


def test_attention_maps_are_those_of_the_listed_tags(tmp_path, cams):
    write_attention(tmp_path, cams)
    folder = CamFolder.open(tmp_path)
    assert folder.files(NAME, tags=(14,)).read()[0].tolist() == [14]
    missing = folder.files(NAME, tags=(3, 14)).paths
    assert [path.name for path in missing if not path.exists()] == [f"{NAME}_3.png"]
    assert not any(path.exists() for path in folder.files("2007").paths)


def test_attention_maps_of_several_sizes_are_refused(tmp_path, cams):
    write_attention(tmp_path, [cams[0], cams[1, :2]])
    with pytest.raises(UserError) as raised:
        CamFolder.open(tmp_path).files(NAME).read()
    assert raised.value.where.endswith(f"{NAME}_14.png")


def test_files_go_to_worker_processes(tmp_path, cams):
    write_attention(tmp_path, cams)
    files = pickle.loads(pickle.dumps(CamFolder.open(tmp_path).files(NAME)))
    assert files.read()[0].tolist() == [0, 14]


def test_an_empty_folder_is_one_of_cam_files(tmp_path):
    assert CamFolder.open(tmp_path / "none").files(NAME).paths == (tmp_path / "none" / f"{NAME}.npz",)
