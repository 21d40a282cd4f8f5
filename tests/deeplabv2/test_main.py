"""The segmentation trainer as users run it: programs and shell scripts on files, and the exact files they write."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from deeplabv2 import train
from deeplabv2.inference import make_network
from deeplabv2.settings import Settings
from tests.small_segmentation import make_segmentation_data, small_flags, small_settings
from utils.files.locate import PROJECT_ROOT
from utils.training.checkpoint import read_checkpoint

# complete programs, which take minutes
pytestmark = pytest.mark.slow

TINY = [
    "--DATASET.N_CLASSES=3", "--DATALOADER.NUM_WORKERS=0", "--MODEL.N_BLOCKS=1,1,1,1", "--MODEL.WIDTH=0.0625",
    "--MODEL.ATROUS_RATES=1,2", "--MODEL.SCALES=0.5", "--MODEL.INIT_MODEL=none", "--MODEL.FREEZE_BATCH_NORM=false",
    "--IMAGE.SIZE.TRAIN=33", "--SOLVER.BATCH_SIZE.TRAIN=2", "--SOLVER.ITER_MAX=2", "--SOLVER.DEVICE=cpu",
    "--DATASET.SPLIT.TRAIN=train",
]  # fmt: skip


def program(folder, *command, check=True):
    """Run a program from `folder`, where no relative path leads to the project."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("EXP", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def python(folder, script, *flags, check=True):
    return program(folder, sys.executable, str(PROJECT_ROOT / "deeplabv2" / script), *flags, check=check)


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Copy the project's files without data, results and environment, like a fresh clone."""
    made = shutil.ignore_patterns(".venv", ".git", "runs", "data", "__pycache__", ".*_cache")

    def ignored(folder, names):
        return made(folder, names) - ({"data", "runs"} if Path(folder).name in ("utils", "tests") else set())

    return Path(shutil.copytree(PROJECT_ROOT, tmp_path_factory.mktemp("project") / "clone", ignore=ignored))


def test_the_published_script_says_at_once_what_is_missing_and_where_it_goes(clone, tmp_path):
    done = program(tmp_path, "bash", str(clone / "deeplabv2/run_voc12_coco_pretrained.sh"), "mine", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for place in ("data/voc12/JPEGImages", "data/voc12/pseudo_seg_labels_mine", "deeplabv1_resnet101-coco.pth"):
        assert str(clone) in done.stderr and place in done.stderr
    assert not (clone / "deeplabv2" / "data").exists()


@pytest.fixture(scope="module")
def finished(clone, tmp_path_factory):
    """The clone after running the published script on synthetic data from another folder, and its output."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(make_segmentation_data(folder), clone / "data" / "voc12")
    shutil.copytree(folder / "labels", clone / "data" / "voc12" / "pseudo_seg_labels_mine")
    script = str(clone / "deeplabv2" / "run_voc12_coco_pretrained.sh")
    return clone, program(folder, "env", "EXP=mine", "bash", script, *TINY)


def test_the_published_script_leaves_exactly_these_files(finished):
    clone, done = finished
    found = {name.replace("mine/voc12_coco_pretrained", "EXP") for name in files_below(clone / "deeplabv2" / "data")}
    events = {name for name in found if "tensorboard/" in name}
    assert len(events) == 1
    names = ("v0", "v1", "v2")
    assert found - events == {
        *(f"models/EXP/{name}" for name in ("checkpoint_final.pth", "config.yaml", "log.txt", "metrics.jsonl")),
        "models/EXP/versions.json",
        "features/EXP/val/logits/settings.json", "features/EXP/val/crf/settings.json",
        *(f"features/EXP/val/logits/{name}.npz" for name in names),
        *(f"features/EXP/val/crf/{name}.png" for name in names),
        "scores/EXP/scores.json", "scores/EXP/scores_crf.json", "scores/EXP/results.tar.gz",
    }  # fmt: skip
    assert sum(line.startswith("mIoU  ") for line in done.stdout.splitlines()) == 2
    assert "test.txt is missing: results.tar.gz will contain labels of the val images" in done.stdout
    assert "3 kept" in done.stderr  # the archive uses the CRF's labels


def test_archive_holds_the_labels_of_the_crf(finished):
    folder = finished[0] / "deeplabv2" / "data"
    with tarfile.open(folder / "scores/mine/voc12_coco_pretrained/results.tar.gz") as tar:
        for name in ("v0", "v1", "v2"):
            member = tar.extractfile(f"results/VOC2012/Segmentation/comp5_test_cls/{name}.png")
            label = folder / f"features/mine/voc12_coco_pretrained/val/crf/{name}.png"
            assert member.read() == label.read_bytes()
        assert len(tar.getnames()) == 3


def test_scores_can_be_read_without_the_code(finished):
    folder = finished[0] / "deeplabv2" / "data" / "scores" / "mine" / "voc12_coco_pretrained"
    for name in ("scores.json", "scores_crf.json"):
        scores = json.loads((folder / name).read_text())
        assert 0 <= scores["mean_iou"] <= 1 and set(scores["class_iou"]) == {"background", "cat", "dog"}


def test_the_list_of_test_images_is_asked_for(tmp_path):
    """Settings are found from any folder, by either spelling of the flag."""
    data = make_segmentation_data(tmp_path)
    config = "--config_path=configs/voc12_imagenet_pretrained.yaml"
    done = python(tmp_path, "eval.py", config, f"--DATASET.ROOT={data}", "--DATASET.N_CLASSES=3", check=False)
    assert done.returncode == 1 and "test.txt: no such image list" in done.stderr
    assert "existing lists: classes, train, val" in done.stderr


@pytest.mark.parametrize("words", [[], ["tset"]])
def test_an_unknown_command_names_those_that_there_are(tmp_path, words):
    done = python(tmp_path, "main.py", *words, check=False)
    assert all(re.search(rf"\b{command}\b", done.stderr) for command in ("train", "test", "crf", "predict", "cams"))
    assert done.returncode == (1 if words else 0)


def test_two_processes_give_the_losses_and_weights_of_one(tmp_path):
    data = make_segmentation_data(tmp_path)
    start = tmp_path / "start.pth"
    # trainable batch norms use the batch of their process; padding gives images different weights in a mean
    common = {"MODEL__FREEZE_BATCH_NORM": "true", "DATASET__SCALES": [1.0]}
    common |= {"MODEL__INIT_MODEL": str(start), "SOLVER__ITER_MAX": 2}
    torch.manual_seed(0)
    network = make_network(small_settings(data, Settings).MODEL, 3)
    torch.save(network.single_scale().state_dict(), start)
    train.run(small_settings(data, Settings, EXP__ID="one", SOLVER__BATCH_SIZE__TRAIN=2, **common))
    two = small_flags(data, EXP__ID="two", SOLVER__BATCH_SIZE__TRAIN=1, **common)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    program(tmp_path, *launch, str(PROJECT_ROOT / "deeplabv2" / "main.py"), "train", *two)
    states = [read_checkpoint(tmp_path / f"out/models/{name}/checkpoint_final.pth") for name in ("one", "two")]
    assert states[0]["step"] == states[1]["step"] == 2
    for name, value in states[0]["state_dict"].items():
        assert torch.allclose(states[1]["state_dict"][name], value, rtol=1e-3, atol=1e-5), name
    assert (tmp_path / "out/models/two/log.txt").read_text().count("step 2: loss") == 1
