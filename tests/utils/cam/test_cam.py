from pathlib import Path

import numpy as np
import pytest
import torch

from utils import cam
from utils.cam.artefact import read_cam_size, write_cam
from utils.cam.exports import affinity_export, irn_export
from utils.errors import UserError

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cam_aggregation.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def maps(golden):
    return [torch.from_numpy(golden[f"cam{i}"][0]) for i in range(8)]


def test_merged_cams_and_labels_are_those_of_the_published_implementation(golden, maps):
    keys, size = golden["labels"], golden["size"]
    merged = cam.merge_scales(maps, size)
    assert merged.shape == (20, *size)
    chosen = merged[keys].numpy()
    np.testing.assert_allclose(chosen[:, ::3, ::3], golden["attention"], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(cam.to_uint8(chosen), golden["attention_png"])
    np.testing.assert_array_equal(cam.to_uint8(merged[keys]), golden["attention_png"])
    np.testing.assert_array_equal(cam.to_label(keys, chosen, 0.35), golden["cam_png"])
    np.testing.assert_array_equal(cam.to_label(keys, golden["attention_png"], 0.35), golden["pseudo_label"])


def test_chosen_keys_are_a_part_of_all_classes(golden, maps):
    everything = cam.merge_scales(maps, golden["size"])
    torch.testing.assert_close(cam.merge_scales(maps, golden["size"], keys=[11, 3]), everything[[11, 3]])
    assert cam.merge_scales(maps, golden["size"], keys=[]).shape == (0, *golden["size"])


def test_exports_are_those_of_the_published_implementation(golden, maps):
    keys, size = golden["labels"], golden["size"]
    strided, high_res = cam.strided_cam(maps, size, keys=keys), cam.high_res_cam(maps, size, keys=keys)
    irn, affinity = irn_export(keys, strided, high_res), affinity_export(keys, strided, high_res)
    for dictionary, high_res_name in ((irn, "high_res"), (affinity, "hr_cam")):
        np.testing.assert_allclose(dictionary["cam"], golden["strided_cam"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(dictionary[high_res_name][:, ::3, ::3], golden["high_res"], rtol=1e-3, atol=1e-4)
        assert dictionary[high_res_name].shape == (len(keys), *size)
    assert irn["keys"].tolist() == [3, 11]
    assert affinity["keys"].tolist() == [0, 4, 12]


def test_high_res_keeps_a_size_that_is_a_multiple_of_sixteen(maps):
    assert cam.high_res_cam(maps, (32, 48), keys=[1]).shape == (1, 32, 48)


def test_softmax_leaves_out_the_tags_that_the_image_lacks(maps):
    stronger = [m.clone() for m in maps]
    for m in stronger:
        m[7] += 100
    first = cam.merge_scales(maps, (20, 30), keys=[3, 11], activation="softmax")
    second = cam.merge_scales(stronger, (20, 30), keys=[3, 11], activation="softmax")
    torch.testing.assert_close(first, second)
    assert first.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1])


def test_a_class_seen_nowhere_stays_zero():
    maps = [torch.full((3, 4, 5), -1.0)] * 2
    assert cam.merge_scales(maps, (8, 10)).eq(0).all()


def test_an_odd_number_of_maps_and_a_strange_key_are_refused(maps):
    with pytest.raises(ValueError, match="7"):
        cam.merge_scales(maps[:7], (10, 10))
    with pytest.raises(ValueError, match=r"\[20\].*20"):
        cam.merge_scales(maps, (10, 10), keys=[20])


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6, 0.8])
def test_the_threshold_itself_is_background(threshold):
    level = round(threshold * 255)
    cams = np.array([[[level, level + 1]]], dtype=np.uint8)
    assert cam.to_label([4], cams, threshold).tolist() == [[0, 5]]
    assert cam.to_label([4], np.array([[[threshold, threshold + 0.01]]]), threshold).tolist() == [[0, 5]]


def test_label_of_an_image_without_tags_is_background():
    label = cam.to_label([], np.zeros((0, 3, 4), np.uint8), 0.3)
    assert label.shape == (3, 4) and label.dtype == np.uint8 and not label.any()


def test_artefact_comes_back_as_written(tmp_path):
    cams = np.random.default_rng(0).integers(0, 256, (2, 5, 7), dtype=np.uint8)
    cam.write_cam(tmp_path / "cam" / "a.b.npz", [3, 9], cams)
    keys, read = cam.read_cam(tmp_path / "cam" / "a.b.npz")
    assert keys.tolist() == [3, 9]
    np.testing.assert_array_equal(read, cams)
    assert [p.name for p in (tmp_path / "cam").iterdir()] == ["a.b.npz"]
    cam.write_cam(tmp_path / "none.npz", [], np.zeros((0, 5, 7), np.uint8))
    assert cam.read_cam(tmp_path / "none.npz")[1].shape == (0, 5, 7)


def test_what_is_no_artefact_is_named_with_its_remedy(tmp_path):
    with pytest.raises(UserError, match=r"x\.npz.*test_l2g\.py"):
        cam.read_cam(tmp_path / "x.npz")
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 not whole")
    np.savez(tmp_path / "other.npz", keys=np.arange(2), maps=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", keys=np.array([{}]), cams=np.zeros((1, 2, 2), np.uint8))
    np.savez(tmp_path / "unequal.npz", keys=np.arange(2), cams=np.zeros((1, 2, 2), np.uint8))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "page.npz").write_text("<html>")
    for name in ("half", "other", "pickled", "unequal", "empty", "page"):
        with pytest.raises(UserError, match=rf"{name}\.npz.*test_l2g\.py") as error:
            cam.read_cam(tmp_path / f"{name}.npz")
        assert "unsafely" not in str(error.value)  # numpy's advice to unpickle it
    with pytest.raises(ValueError, match=r"float\.npz"):
        cam.write_cam(tmp_path / "float.npz", [1], np.zeros((1, 2, 2)))


@pytest.mark.parametrize("count", [0, 2])
def test_the_size_is_read_from_the_header(tmp_path, count):
    write_cam(tmp_path / "a.npz", range(count), np.zeros((count, 5, 7), np.uint8))
    assert read_cam_size(tmp_path / "a.npz") == (5, 7)


@pytest.mark.parametrize("content", [None, b"", b"not a CAM"])
def test_the_size_of_no_artefact_is_a_users_error(tmp_path, content):
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_cam_size(path)
    assert error.value.where == str(path)
