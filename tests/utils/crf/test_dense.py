from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from utils.crf import original
from utils.crf.competing import COMPETING_AREA, COMPETING_RATIO, competing_labels, crf_label, refine
from utils.crf.dense import dense_crf, refine_label
from utils.crf.original import check_backend
from utils.crf.strengths import CAM_CRF, DEEPLAB_CRF
from utils.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden"
SETTINGS = {"iterations": 10, "pos_w": 3, "pos_xy_std": 1, "bi_w": 4, "bi_xy_std": 67, "bi_rgb_std": 3}


def test_the_strengths_are_the_published_ones():
    assert DEEPLAB_CRF == SETTINGS


def test_crf_agrees_with_the_published_implementation():
    golden = np.load(GOLDEN / "crf.npz")
    image = golden["image"]
    logit = F.interpolate(torch.from_numpy(golden["logit"]), image.shape[:2], mode="bilinear", align_corners=False)
    refined = dense_crf(image, logit.softmax(dim=1)[0].numpy(), **SETTINGS)
    assert refined.dtype == np.float32 and refined.shape == (21, *image.shape[:2])
    assert (refined.argmax(axis=0) == golden["label"]).mean() >= 0.999
    assert np.abs(refined[:, ::7, ::7] - golden["q_sample"]).mean() < 1e-3


@pytest.mark.parametrize("labels", [1, 2, 3, 4, 7, 21])
@pytest.mark.parametrize("strengths", [DEEPLAB_CRF, CAM_CRF, DEEPLAB_CRF | {"iterations": 1, "bi_rgb_std": 13.0}])
def test_both_backends_agree(labels, strengths):
    pytest.importorskip("pydensecrf", reason="pip install pydensecrf2: the reference of the CRF (a C++ compiler)")
    image, probabilities, _ = scene(labels)
    kept = probabilities[:labels]
    given, expected = (
        dense_crf(image, kept / kept.sum(axis=0), **strengths, backend=backend) for backend in ("lattice", "pydensecrf")
    )
    assert given.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(given.sum(axis=0), 1, rtol=1e-5)
    # ten iterations amplify the last digits where two labels are equally good
    assert np.quantile(np.abs(given - expected), 0.999) < 1e-4
    assert (given.argmax(axis=0) == expected.argmax(axis=0)).mean() > 0.9999


def test_labels_agree_whatever_the_backend():
    pytest.importorskip("pydensecrf", reason="pip install pydensecrf2: the reference of the CRF (a C++ compiler)")
    image, probabilities, truth = scene()
    rough = np.roll(truth, 3, axis=1)
    ours, theirs = (refine_label(image, rough, backend=backend) for backend in ("lattice", "pydensecrf"))
    assert (ours == theirs).mean() > 0.999 and (ours == truth).mean() > (rough == truth).mean()
    ours, theirs = (refine(image, probabilities, **SETTINGS, backend=b) for b in ("lattice", "pydensecrf"))
    assert (ours[0] == theirs[0]).all() and np.abs(ours[1] - theirs[1]).mean() < 1e-4


def test_a_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(original, "find_spec", lambda name: None)
    check_backend("lattice")
    with pytest.raises(UserError, match="pydensecrf2"):
        check_backend("pydensecrf")


def test_no_iteration_gives_the_probabilities_back():
    image, probabilities, _ = scene()
    given = dense_crf(image, probabilities, **SETTINGS | {"iterations": 0})
    np.testing.assert_allclose(given, probabilities, atol=1e-3)


@pytest.mark.parametrize("name", ["pos_xy_std", "bi_xy_std", "bi_rgb_std"])
@pytest.mark.parametrize("width", [0.0, -1.0, np.nan])
def test_crf_refuses_kernels_without_width(name, width):
    with pytest.raises(UserError, match=f"{name}={width}"):
        dense_crf(np.zeros((4, 5, 3), np.uint8), np.full((2, 4, 5), 0.5, np.float32), **SETTINGS | {name: width})


def test_crf_refuses_an_image_of_another_size():
    with pytest.raises(ValueError):
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


def scene(seed=0):
    """Image, probabilities (21, 90, 120) like a trained network's, uncertain at edges, and true labels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((90, 120), np.uint8)
    truth[20:70, 15:60], truth[30:80, 70:110] = 7, 15
    image = np.stack([60 + 9 * truth, 200 - 8 * truth, 90 + 4 * truth], axis=-1) + rng.normal(0, 6, (90, 120, 3))
    logits = rng.normal(0, 0.7, (1, 21, 12, 15)).astype(np.float32)
    for label in (0, 7, 15):
        share = torch.from_numpy((np.roll(truth, 2, axis=1) == label).astype(np.float32))
        logits[0, label] += 9 * F.adaptive_avg_pool2d(share[None], (12, 15))[0].numpy()
    large = F.interpolate(torch.from_numpy(logits), (90, 120), mode="bilinear", align_corners=False)
    return image.clip(0, 255).astype(np.uint8), large.softmax(dim=1)[0].numpy(), truth


@pytest.mark.parametrize("seed", range(3))
def test_leaving_out_labels_that_cannot_win_changes_next_to_nothing(seed):
    image, probabilities, truth = scene(seed)
    kept = competing_labels(probabilities, ratio=COMPETING_RATIO, area=COMPETING_AREA)
    assert {0, 7, 15} <= set(kept.tolist()) and len(kept) <= 4
    restricted = crf_label(image, probabilities, **SETTINGS)
    whole = dense_crf(image, probabilities, **SETTINGS).argmax(axis=0)
    assert restricted.dtype == np.uint8 and restricted.shape == truth.shape
    assert (restricted == whole).mean() >= 0.999
    assert (restricted == truth).mean() > (probabilities.argmax(axis=0) == truth).mean()


def test_the_golden_image_keeps_its_label_with_fewer_labels():
    golden = np.load(GOLDEN / "crf.npz", allow_pickle=False)
    image = golden["image"]
    logit = F.interpolate(torch.from_numpy(golden["logit"]), image.shape[:2], mode="bilinear", align_corners=False)
    label = crf_label(image, logit.softmax(dim=1)[0].numpy(), **SETTINGS)
    assert (label == golden["label"]).mean() >= 0.999


def test_labels_compete_by_their_nearest_approach_to_winning():
    probabilities = np.array([0.9, 0.09, 0.01]).reshape(3, 1, 1).repeat(2, axis=1).repeat(2, axis=2)
    assert competing_labels(probabilities, ratio=0.05).tolist() == [0, 1]
    probabilities[:, 1, 1] = [0.5, 0.1, 0.4]
    assert competing_labels(probabilities, ratio=0.05).tolist() == [0, 1, 2]
    assert competing_labels(probabilities, ratio=0.5).tolist() == [0, 2]
    assert competing_labels(probabilities, ratio=0.5, area=0.3).tolist() == [0]
    probabilities[:, 1, 1] = [0.1, 0.1, 0.8]
    assert competing_labels(probabilities, ratio=0.5, area=0.3).tolist() == [0, 2]


@pytest.mark.parametrize("side", [3, 5, 9, 13])  # 0.01 to 0.2 % of the pixels
def test_small_objects_survive_as_in_the_crf_over_all_labels(side):
    image, probabilities = np.full((240, 320, 3), 128, np.uint8), np.full((21, 240, 320), 0.001, np.float32)
    probabilities[0] = 0.98
    for number, (y, x) in enumerate([(20, 20), (100, 200), (200, 60)], 1):
        here = np.s_[y : y + side, x : x + side]
        image[here], probabilities[0][here] = (250 - 40 * number, 0, 60 * number), 0.001
        probabilities[number][here] = 0.98
    whole = dense_crf(image, probabilities, **SETTINGS).argmax(axis=0)
    assert np.array_equal(crf_label(image, probabilities, **SETTINGS), whole)
    assert (np.bincount(whole.ravel(), minlength=4)[1:4] >= 0.9 * side**2).all()


def test_an_image_of_one_label_needs_no_crf():
    probabilities = np.full((3, 4, 5), 1e-6, np.float32)
    probabilities[2] = 1
    assert (crf_label(np.zeros((4, 5, 3), np.uint8), probabilities, **SETTINGS) == 2).all()
