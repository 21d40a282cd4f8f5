"""Stored logits: size on disk, which labels are dropped, which files are refused."""

import numpy as np
import pytest
import torch

from deeplabv2.logits import enlarged, read_logits, reduce_logits, write_logits
from utils.errors import UserError

VOC_IMAGE = (375, 500)  # height, width
VOC_MAP = (47, 63)  # at stride 8


def test_an_image_of_voc_takes_at_most_130_kb_with_all_labels(tmp_path):
    logits = torch.randn(21, *VOC_MAP, generator=torch.Generator().manual_seed(0))
    stored = reduce_logits(logits, VOC_IMAGE)
    assert len(stored.labels) == 21  # noise: every label wins somewhere
    write_logits(tmp_path / "a.npz", stored)
    assert (tmp_path / "a.npz").stat().st_size <= 130_000


def test_labels_far_behind_everywhere_are_left_out_and_the_others_keep_their_numbers(tmp_path):
    logits = torch.zeros(5, 4, 6)
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
    logits = 3 * torch.randn(21, 9, 12, generator=torch.Generator().manual_seed(1))
    expected = enlarged(logits.half().float(), (70, 90)).argmax(dim=0)
    assert (reduce_logits(logits, (70, 90)).label() == expected.numpy()).all()


def test_no_label_that_comes_near_the_strongest_one_when_enlarged_is_left_out():
    generator = torch.Generator().manual_seed(2)
    for scale in (1.0, 3.0, 9.0):
        logits = scale * torch.randn(12, 5, 7, generator=generator)
        probabilities = enlarged(logits.half().float(), (61, 83)).softmax(dim=0)
        near = (probabilities >= 0.01 * probabilities.amax(dim=0)).flatten(1).any(dim=1)
        stored = reduce_logits(logits, (61, 83)).labels
        assert set(torch.nonzero(near)[:, 0].tolist()) <= set(stored.tolist())


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_logits_that_half_precision_cannot_hold_are_refused(value):
    logits = torch.zeros(3, 4, 4)
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
    with pytest.raises(UserError, match=r"a\.npz.*main\.py test"):
        read_logits(path)
