from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from utils.crf import dense_crf, refine_label

GOLDEN = Path(__file__).parents[1] / "golden"
SETTINGS = {"iterations": 10, "pos_w": 3, "pos_xy_std": 1, "bi_w": 4, "bi_xy_std": 67, "bi_rgb_std": 3}


def test_crf_agrees_with_the_published_implementation():
    golden = np.load(GOLDEN / "crf.npz")
    image = golden["image"]
    logit = F.interpolate(torch.from_numpy(golden["logit"]), image.shape[:2], mode="bilinear", align_corners=False)
    refined = dense_crf(image, logit.softmax(dim=1)[0].numpy(), **SETTINGS)
    assert refined.dtype == np.float32 and refined.shape == (21, *image.shape[:2])
    assert (refined.argmax(axis=0) == golden["label"]).mean() >= 0.999
    assert np.abs(refined[:, ::7, ::7] - golden["q_sample"]).mean() < 1e-3


def test_crf_refuses_an_image_of_another_size():
    with pytest.raises(ValueError, match="one size"):
        dense_crf(np.zeros((4, 5, 3), np.uint8), np.full((2, 5, 4), 0.5, np.float32), **SETTINGS)


def test_crf_leaves_its_inputs_alone_and_takes_read_only_ones():
    image, probabilities = np.zeros((4, 5, 3), np.uint8), np.full((2, 4, 5), 0.5, np.float32)
    image.flags.writeable = probabilities.flags.writeable = False
    dense_crf(image, probabilities, **SETTINGS)
    assert (probabilities == 0.5).all()


def test_label_moves_to_the_edge_in_the_image():
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, 16:] = 255
    label = np.zeros((24, 32), np.uint8)
    label[:, 18:] = 5
    expected = np.where(np.arange(32) >= 16, 5, 0)
    assert (refine_label(image, label) == expected).mean() > 0.99


def test_label_of_one_class_stays():
    label = np.full((4, 5), 3, np.uint8)
    assert (refine_label(np.zeros((4, 5, 3), np.uint8), label) == 3).all()
