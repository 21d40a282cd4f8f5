"""A step that is killed at any moment and run again writes files identical to an uninterrupted one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from deeplabv2 import crf, test, train
from deeplabv2.inference import StepSettings
from deeplabv2.settings import Settings
from models.cam_net import build_cam_net
from scripts import make_cams, make_labels, prepare_own, prepare_voc
from tests.interrupting import in_child
from tests.small_downloads import make_sbd, make_voc, photo
from tests.small_run import make_small_run
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.config.options import CamOptions, LabelOptions, TrainOptions
from utils.config.parser import save_options
from utils.files import atomic
from utils.runs.paths import RunPaths
from utils.training.checkpoint import write_checkpoint

KILLS = 3


def start_cams(folder):
    names = make_small_run(folder)
    paths = RunPaths.of(names["runs_dir"], names["experiment_name"])
    shutil.rmtree(paths.cam_dir)
    save_options(TrainOptions(**names, width=1 / 32), paths.config)
    torch.manual_seed(0)
    write_checkpoint(
        paths.model_dir / "toy_epoch_0.pth",
        {"state_dict": build_cam_net("resnet38", 2, width=1 / 32).state_dict(), "step": 5},
    )


def make_the_cams(folder):
    run = {"experiment_name": "exp", "runs_dir": str(folder / "runs")}
    own = {"scales": (1.0,), "num_workers": 0, "device": "cpu", "save_attention": True, "save_irn": True}
    make_cams.run(CamOptions(**run, **own))


def make_the_labels(folder):
    run = {"experiment_name": "exp", "runs_dir": str(folder / "runs"), "dataset": str(folder / "toy")}
    make_labels.run(LabelOptions(**run, label_dir=str(folder / "labels"), threshold=0.2, num_workers=1))


def start_segmentation(folder):
    train.run(small_settings(make_segmentation_data(folder), Settings, SOLVER__ITER_MAX=1))


def score_the_network(folder):
    test.run(small_settings(folder / "toy", StepSettings, num_workers=1))


def start_crf(folder):
    start_segmentation(folder)
    score_the_network(folder)


def refine(folder):
    crf.run(small_settings(folder / "toy", StepSettings, num_workers=1))


def start_voc(folder):
    make_voc(folder)
    make_sbd(folder)


def prepare_the_voc(folder):
    voc, sbd = folder / "VOCdevkit" / "VOC2012", folder / "benchmark_RELEASE"
    out = folder / "voc12"
    prepare_voc.run(prepare_voc.PrepareVocOptions(voc=str(voc), sbd=str(sbd), out=out, copy=True, num_workers=1))


def start_own(folder):
    for number in range(3):
        photo(folder / "photos" / f"{number}.jpg", seed=number)
    (folder / "tags.csv").write_text("file,tags\n0.jpg,cat;dog\n1.jpg,dog\n2.jpg,cat\n")


def prepare_the_photos(folder):
    given = {"images": str(folder / "photos"), "tags": str(folder / "tags.csv"), "out": str(folder / "mine")}
    prepare_own.run(prepare_own.PrepareOwnOptions(**given, copy=True, num_workers=1))


STEPS = {
    "cams": (start_cams, make_the_cams),
    "labels": (make_small_run, make_the_labels),
    "test": (start_segmentation, score_the_network),
    "crf": (start_crf, refine),
    "prepare_voc": (start_voc, prepare_the_voc),
    "prepare_own": (start_own, prepare_the_photos),
}


def results_below(folder: Path) -> dict[str, bytes]:
    """Read every file except scores.json, which contains the speed."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "scores.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_run_again_leaves_the_files_of_a_whole_one(step, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.runs.segmentation.locate.PROJECT_ROOT", tmp_path / "project")
    (start, work), folder, begun = STEPS[step], tmp_path / "work", tmp_path / "begun"
    folder.mkdir()
    start(folder)
    monkeypatch.setattr(atomic, "_swept", set())  # a new process has not swept any folder yet
    shutil.copytree(folder, begun, symlinks=True)
    count = in_child(lambda: work(folder), folder)
    whole = results_below(folder)
    assert len(whole) > len(results_below(begun))
    for moment in np.random.default_rng(list(step.encode())).choice(count, KILLS, replace=False):
        shutil.rmtree(folder)
        shutil.copytree(begun, folder, symlinks=True)
        in_child(lambda: work(folder), folder, killed_at=int(moment))
        in_child(lambda: work(folder), folder)
        assert results_below(folder) == whole, f"killed at request {moment} of {count}"
