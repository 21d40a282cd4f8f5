"""Stored logits: size on disk, which labels are dropped, which files are refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deeplabv2.logits import StoredLogits, enlarged, read_logits, reduce_logits, write_logits
from utils.errors import UserError

VOC_IMAGE = (375, 500)  # height, width
VOC_MAP = (47, 63)  # at stride 8


def test_an_image_of_voc_takes_at_most_130_kb_with_all_labels(tmp_path):
    logits = np.random.default_rng(0).standard_normal((21, *VOC_MAP), np.float32)
    stored = reduce_logits(logits, VOC_IMAGE)
    assert len(stored.labels) == 21  # noise: every label wins somewhere
    write_logits(tmp_path / "a.npz", stored)
    assert (tmp_path / "a.npz").stat().st_size <= 130_000


def test_labels_far_behind_everywhere_are_left_out_and_the_others_keep_their_numbers(tmp_path):
    logits = np.zeros((5, 4, 6), np.float32)
    logits[1], logits[4] = -20, 3
    logits[2, :, 3:] = 5
    write_logits(tmp_path / "a.npz", reduce_logits(logits, (8, 12)))
    stored = read_logits(tmp_path / "a.npz")
    assert stored.labels.tolist() == [0, 2, 3, 4] and stored.labels.dtype == np.uint8
    assert stored.logits.dtype == np.float16 and stored.logits.shape == (4, 4, 6)
    assert stored.size == (8, 12)
    label = stored.label()
    assert label.shape == (8, 12) and label.dtype == np.uint8
    assert (label[:, :4] == 4).all() and (label[:, 8:] == 2).all()
    probabilities = stored.probabilities()
    assert probabilities.shape == (4, 8, 12) and np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_label_is_that_of_all_logits_in_half_precision():
    logits = 3 * np.random.default_rng(1).standard_normal((21, 9, 12), np.float32)
    expected = enlarged(logits.astype(np.float16), (70, 90)).argmax(axis=0)
    assert (reduce_logits(logits, (70, 90)).label() == expected).all()


@pytest.mark.parametrize("size", [(70, 90), (9, 12), (5, 40)])
def test_enlarging_is_that_of_torch_which_the_published_code_uses(size):
    logits = 3 * np.random.default_rng(2).standard_normal((21, 9, 12), np.float32)
    reference = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    assert np.abs(enlarged(logits, size) - reference.numpy()).max() < 1e-4
    probabilities = StoredLogits(np.arange(21, dtype=np.uint8), logits, size).probabilities()
    assert np.abs(probabilities - reference.softmax(dim=0).numpy()).max() < 1e-5


def test_no_label_that_comes_near_the_strongest_one_when_enlarged_is_left_out():
    rng = np.random.default_rng(2)
    for scale in (1.0, 3.0, 9.0):
        logits = scale * rng.standard_normal((12, 5, 7), np.float32)
        probabilities = StoredLogits(np.arange(12, dtype=np.uint8), logits.astype(np.float16), (61, 83)).probabilities()
        near = (probabilities >= 0.01 * probabilities.max(axis=0)).any(axis=(1, 2))
        stored = reduce_logits(logits, (61, 83)).labels
        assert set(np.flatnonzero(near).tolist()) <= set(stored.tolist())


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_logits_that_half_precision_cannot_hold_are_refused(value):
    logits = np.zeros((3, 4, 4), np.float32)
    logits[1, 2, 2] = value
    with pytest.raises(UserError, match=r"--SOLVER\.AMP"):
        reduce_logits(logits, (8, 8))


@pytest.mark.parametrize("content", [b"", b"not a zip file", None])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "a.npz"
    if content is None:
        np.savez(path, labels=np.zeros(2, np.uint8), logits=np.zeros((3, 4, 4), np.float16), size=np.zeros(2))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz.*delete it and run the command again"):
        read_logits(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"logits": np.zeros((2, 4, 4), np.complex64)},
        {"logits": np.broadcast_to(np.float16(0), (2, 4, 4)).astype("U3")},
        {"labels": np.array(["a", "b"])},
        {"labels": np.array([0.5, 1.5])},
        {"size": np.array(["8", "8"])},
        {"size": np.array(8)},
    ],
)
def test_arrays_of_other_kinds_are_refused(tmp_path, changed):
    whole = {
        "labels": np.arange(2, dtype=np.uint8),
        "logits": np.zeros((2, 4, 4), np.float16),
        "size": np.array([8, 8]),
    }
    np.savez(tmp_path / "a.npz", **whole)
    assert read_logits(tmp_path / "a.npz").label().shape == (8, 8)
    np.savez(tmp_path / "a.npz", **{**whole, **changed})
    with pytest.raises(UserError, match=r"a\.npz"):
        read_logits(tmp_path / "a.npz")


def test_a_file_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path, monkeypatch):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as stored:
        for name, shape in (("labels", (2,)), ("logits", (2, 60_000, 60_000)), ("size", (2,))):
            header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            stored.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    monkeypatch.setattr(np, "load", lambda *given, **more: pytest.fail("its content is read"))
    with pytest.raises(UserError, match=r"60000.*delete it and run the command again"):
        read_logits(tmp_path / "a.npz")
