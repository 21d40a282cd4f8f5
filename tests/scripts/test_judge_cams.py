"""CAMs are judged without masks: those that cover everything, and saliency that does not match."""

import json

import numpy as np
import pytest

from scripts.judge_cams import run
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.cam.artefact import write_cam
from utils.config.options.own import JudgeOptions
from utils.data.images import write_image


@pytest.fixture
def options(tmp_path):
    """The small run, whose saliency is where the CAMs are."""
    chosen = make_small_run(tmp_path)
    salient = np.zeros((HEIGHT, WIDTH), np.uint8)
    salient[:, :3] = 255
    for name, values in (("a", salient), ("b", np.full_like(salient, 255)), ("c", salient * 0)):
        write_image(tmp_path / "toy" / "Sal" / f"{name}.png", values)
    return chosen


def judgement(options, **more):
    return json.loads(run(JudgeOptions(**options, num_workers=1, **more)).read_text())


def test_areas_and_agreement_are_those_of_the_cams(options):
    found = judgement(options)
    assert found["images"] == 2  # c has no tags
    assert found["area_of_class"] == {"cat": 0.5, "dog": 0.5} and found["agreement"] == 1.0


def test_a_class_that_is_everywhere_is_named(options, tmp_path):
    write_cam(tmp_path / "runs" / "exp" / "cam" / "a.npz", [0], np.full((1, HEIGHT, WIDTH), 255, np.uint8))
    write_cam(tmp_path / "runs" / "exp" / "cam" / "b.npz", [0, 1], np.full((2, HEIGHT, WIDTH), 255, np.uint8))
    assert any("cat 100%" in warning for warning in judgement(options)["warnings"])


def test_saliency_elsewhere_is_warned_of_with_images(options, tmp_path):
    other = np.zeros((HEIGHT, WIDTH), np.uint8)
    other[:, 5:] = 255
    write_image(tmp_path / "toy" / "Sal" / "a.png", other)
    write_image(tmp_path / "toy" / "Sal" / "b.png", other)
    assert any("SALIENCY=none" in warning and "a" in warning for warning in judgement(options)["warnings"])


def test_without_saliency_areas_are_judged_alone(options):
    assert judgement(options, sal_dir="none")["agreement"] is None
