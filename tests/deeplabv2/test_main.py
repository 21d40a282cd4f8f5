"""The segmentation trainer as a user runs it: programs and shell scripts on files, and exactly the files they leave."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from deeplabv2.settings import Settings
from tests.small_segmentation import make_segmentation_data, small_flags, small_settings
from utils.checkpoint import read_checkpoint
from utils.paths import PROJECT_ROOT

TINY = [
    "--DATASET.N_CLASSES=3", "--DATALOADER.NUM_WORKERS=0", "--MODEL.N_BLOCKS=1,1,1,1", "--MODEL.WIDTH=0.0625",
    "--MODEL.ATROUS_RATES=1,2", "--MODEL.SCALES=0.5", "--MODEL.INIT_MODEL=none", "--MODEL.FREEZE_BATCH_NORM=false",
    "--IMAGE.SIZE.TRAIN=33", "--SOLVER.BATCH_SIZE.TRAIN=2", "--SOLVER.ITER_MAX=2", "--SOLVER.DEVICE=cpu",
]  # fmt: skip


def program(folder, *command, check=True):
    """Runs a program from `folder`, in which no relative path leads to the project."""
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
def finished(tmp_path_factory):
    """A folder with data and results after every step, and what each printed."""
    folder = tmp_path_factory.mktemp("steps")
    flags = small_flags(make_segmentation_data(folder), EXP__OUTPUT_DIR=str(folder / "out"), SOLVER__ITER_MAX=2)
    printed = {command: python(folder, "main.py", command, *flags).stdout for command in ("train", "test", "crf")}
    printed["eval"] = python(folder, "eval.py", *flags, "--split=val", "--competition=comp6").stderr
    return folder, flags, printed


def test_steps_leave_exactly_these_files(finished):
    folder, _, printed = finished
    found = files_below(folder / "out")
    events = {name for name in found if "tensorboard/" in name}
    assert len(events) == 1
    names = ("v0", "v1", "v2")
    assert found - events == {
        *(f"models/exp/{name}" for name in ("checkpoint_final.pth", "config.yaml", "log.txt", "metrics.jsonl")),
        "models/exp/versions.json",
        "features/exp/val/logits/settings.json", "features/exp/val/crf/settings.json",
        *(f"features/exp/val/logits/{name}.npz" for name in names),
        *(f"features/exp/val/crf/{name}.png" for name in names),
        "scores/exp/scores.json", "scores/exp/scores_crf.json", "scores/exp/results.tar.gz",
    }  # fmt: skip
    assert "mIoU" in printed["test"] and "mIoU" in printed["crf"]
    assert "3 kept" in printed["eval"]  # the archive uses what the CRF has made


def test_archive_holds_the_labels_of_the_crf(finished):
    folder, _, _ = finished
    with tarfile.open(folder / "out/scores/exp/results.tar.gz") as tar:
        for name in ("v0", "v1", "v2"):
            member = tar.extractfile(f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png")
            assert member.read() == (folder / f"out/features/exp/val/crf/{name}.png").read_bytes()
        assert len(tar.getnames()) == 3


def test_scores_can_be_read_without_the_code(finished):
    folder, _, _ = finished
    for name in ("scores.json", "scores_crf.json"):
        scores = json.loads((folder / "out/scores/exp" / name).read_text())
        assert 0 <= scores["mean_iou"] <= 1 and len(scores["class_iou"]) == 3


def test_the_list_of_test_images_is_asked_for(finished):
    folder, flags, _ = finished
    done = python(folder, "eval.py", *flags, check=False)
    assert done.returncode == 1 and "test.txt: no such image list" in done.stderr
    assert "lists there: classes, train, val" in done.stderr


@pytest.mark.parametrize("words", [[], ["tset"]])
def test_an_unknown_command_names_those_that_there_are(tmp_path, words):
    done = python(tmp_path, "main.py", *words, check=False)
    assert "train|test|crf|predict" in done.stderr
    assert done.returncode == (1 if words else 0)


def test_two_processes_give_the_losses_and_weights_of_one(tmp_path):
    data = make_segmentation_data(tmp_path)
    # live batch norms see the batch of their own process
    start = tmp_path / "start.pth"
    common = {"MODEL__INIT_MODEL": str(start), "MODEL__FREEZE_BATCH_NORM": "true", "SOLVER__ITER_MAX": 2}
    from deeplabv2.inference import make_network

    torch.manual_seed(0)
    network = make_network(small_settings(data, Settings).MODEL, 3)
    torch.save(network.single_scale().state_dict(), start)
    one = small_flags(data, EXP__ID="one", SOLVER__BATCH_SIZE__TRAIN=2, **common)
    two = small_flags(data, EXP__ID="two", SOLVER__BATCH_SIZE__TRAIN=1, **common)
    python(tmp_path, "main.py", "train", *one)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    program(tmp_path, *launch, str(PROJECT_ROOT / "deeplabv2" / "main.py"), "train", *two)
    states = [read_checkpoint(tmp_path / f"out/models/{name}/checkpoint_final.pth") for name in ("one", "two")]
    assert states[0]["step"] == states[1]["step"] == 2
    for name, value in states[0]["state_dict"].items():
        assert torch.allclose(states[1]["state_dict"][name], value, rtol=1e-3, atol=1e-5), name
    assert (tmp_path / "out/models/two/log.txt").read_text().count("step 2: loss") == 1


@pytest.fixture
def clone(tmp_path):
    """The project's files without data, results and environment, as a fresh clone has them."""
    keep = shutil.ignore_patterns(".venv", ".git", "runs", "data", "__pycache__", ".*_cache")
    return Path(shutil.copytree(PROJECT_ROOT, tmp_path / "clone", ignore=keep))


def test_the_published_script_says_at_once_what_is_missing_and_where_it_goes(clone, tmp_path):
    done = program(tmp_path, "bash", str(clone / "deeplabv2/run_voc12_coco_pretrained.sh"), "mine", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for place in ("data/voc12/JPEGImages", "data/voc12/pseudo_seg_labels_mine", "deeplabv1_resnet101-coco.pth"):
        assert str(clone) in done.stderr and place in done.stderr
    assert not (clone / "deeplabv2" / "data").exists()


def test_the_published_script_does_the_whole_job_from_any_folder(clone, tmp_path):
    data = make_segmentation_data(tmp_path)
    shutil.copytree(data, clone / "data" / "voc12")
    shutil.copytree(tmp_path / "labels", clone / "data" / "voc12" / "pseudo_seg_labels_mine")
    script = str(clone / "deeplabv2/run_voc12_coco_pretrained.sh")
    flags = [*TINY, "--DATASET.SPLIT.TRAIN=train"]
    done = program(tmp_path, "bash", script, "mine", *flags)
    assert "test.txt is missing: results.tar.gz is made of the val images" in done.stdout
    found = files_below(clone / "deeplabv2" / "data")
    for name in ("scores.json", "scores_crf.json", "results.tar.gz"):
        assert f"scores/mine/voc12_coco_pretrained/{name}" in found
    again = program(tmp_path, "env", "EXP=mine", "bash", script, *flags)
    assert "nothing is left to train" in again.stdout and "0 to do" in again.stdout
