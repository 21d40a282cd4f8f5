"""The pipeline as users run it: programs and shell scripts on files, and the exact files they write."""

import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from scripts import convert_weights, make_demo_data, prepare_coco
from tests.small_bank import block, make_small_bank
from tests.small_downloads import block_mask, make_coco
from tests.small_weights import write_small_resnet38, write_small_resnet101
from utils.cam.artefact import read_cam, write_cam
from utils.config.options import TrainOptions
from utils.config.parser import load_options
from utils.copy_paste.bank import ForegroundBank, read_index
from utils.copy_paste.published import export_bank
from utils.data.catalog import VOC_CLASSES
from utils.data.images import read_label, write_image
from utils.files.locate import PROJECT_ROOT

TINY = [
    "--width=0.0625",
    "--frozen_stages=0",
    "--freeze_batch_norm=false",
    "--new_lr_factor=1",
    "--resize=64",
    "--input_size=48",
    "--crop_size=32",
    "--num_patches=4",
    "--batch_size=2",
    "--epochs=1",
    "--lr=0.01",
    "--clip_grad=1",
    "--kd_loss=balanced",
    "--background_target=complement",
    "--kd_weight=1",
    "--num_workers=0",
    "--attention=se",
    "--suppression=learnable",
]
NAMES = [f"demo_train_{index:05d}" for index in range(6)]


def program(folder: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """Run a program of the project from `folder`, where no relative path leads to the project."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def python(folder: Path, script: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run an entry point from `folder` in this process, which has already imported torch."""
    out, err = io.StringIO(), io.StringIO()
    argv = patch.object(sys, "argv", [script, *flags])
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), argv, pytest.raises(SystemExit) as ended:
        runpy.run_path(str(PROJECT_ROOT / script), run_name="__main__")
    done = subprocess.CompletedProcess([script, *flags], ended.value.code, out.getvalue(), err.getvalue())
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with dataset and run after every stage, and the output of each stage."""
    folder = tmp_path_factory.mktemp("pipeline")
    options = make_demo_data.DemoDataOptions(out=folder / "mini", num_train=6, num_val=2)
    make_demo_data.run(options)
    run = ["--experiment_name=exp", "--runs_dir=runs"]
    labels = f"--label_dir={folder / 'labels'}"
    stages = {
        "train_l2g.py": [*run, "--dataset=mini", *TINY],
        "test_l2g.py": [*run, "--scales=0.5,1", "--save_attention", "--save_irn", "--save_affinity", "--num_workers=0"],
        "evaluate.py": [*run, "--num_workers=1"],
        "gen_gt.py": [*run, labels, "--num_workers=1"],
        "res.py": [*run, labels, "--num_workers=1"],
    }
    printed = {script: python(folder, script, *flags).stdout for script, flags in stages.items()}
    scored = python(folder, "evaluate.py", *run, "--mode=png", f"--pred_dir={folder / 'labels'}", "--num_workers=1")
    return folder, printed | {"labels": scored.stdout}


def tags_of(folder: Path) -> dict[str, list[str]]:
    lines = (folder / "mini" / "train_cls.txt").read_text().splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_the_run_holds_exactly_the_files_of_its_stages(finished):
    folder, _ = finished
    tagged = [f"{name}_{tag}.png" for name, tags in tags_of(folder).items() for tag in tags]
    found = files_below(folder / "runs" / "exp")
    events = {name for name in found if name.startswith("tensorboard/")}
    assert len(events) == 1
    assert found - events == {
        "config.yaml", "log.txt", "metrics.jsonl", "versions.json", "model/mini_epoch_0.pth", "cam/settings.json",
        "cam_scores.json", "cam_scores.png", "label_scores.json", "contact_sheet.png",
        *(f"cam/{name}.npz" for name in NAMES),
        *(f"cam_npy_irn/{name}.npy" for name in NAMES),
        *(f"cam_npy_aff/{name}.npy" for name in NAMES),
        *(f"ms/attention/{name}" for name in tagged),
        *(f"ms/accu_att_zoom/{name}" for name in tagged),
        *(f"ms/overlay/{name}.jpg" for name in NAMES),
    }  # fmt: skip
    assert files_below(folder / "labels") == {*(f"{name}.png" for name in NAMES), "label_settings.json"}


def test_labels_have_the_images_sizes_and_only_their_tags(finished):
    folder, _ = finished
    for name, tags in tags_of(folder).items():
        label = read_label(folder / "labels" / f"{name}.png")
        with Image.open(folder / "mini" / "JPEGImages" / f"{name}.jpg") as image:
            assert label.shape == image.size[::-1]
        assert set(np.unique(label)) <= {0, *(int(tag) + 1 for tag in tags)}


def test_labels_use_the_best_threshold_and_score_as_the_cams_at_it(finished):
    folder, _ = finished
    run = folder / "runs" / "exp"
    cams, labels = (json.loads((run / f"{kind}_scores.json").read_text()) for kind in ("cam", "label"))
    settings = json.loads((folder / "labels" / "label_settings.json").read_text())
    assert settings["threshold"] == cams["best_threshold"]
    assert labels["mean_iou"] == pytest.approx(cams["best_mean_iou"])


def test_every_stage_says_what_it_did(finished):
    _, printed = finished
    assert "6 images" in printed["train_l2g.py"] and "epoch 0:" in printed["train_l2g.py"]
    assert printed["evaluate.py"].count("Th=") == 16 and "Best Th=" in printed["evaluate.py"]
    assert "mIoU=" in printed["labels"]


def test_a_stage_that_lacks_the_one_before_names_it(finished):
    folder, _ = finished
    for script, remedy in {"test_l2g.py": "train_l2g.py", "res.py": "test_l2g.py"}.items():
        done = python(folder, script, "--experiment_name=other", "--runs_dir=runs", check=False)
        assert done.returncode == 1
        assert f"run {remedy} --experiment_name other first" in done.stderr
        assert "Traceback" not in done.stderr


def copy_project(folder: Path) -> Path:
    """Copy the project's files without data, runs and environment, like a fresh clone."""
    own = {PROJECT_ROOT / name for name in (".venv", ".git", "runs", "data", "sem_seg_fg", "deeplabv2/data", "tests")}

    def left_out(where: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(where, name) in own or name == "__pycache__" or name.endswith("_cache")}

    return Path(shutil.copytree(PROJECT_ROOT, folder, ignore=left_out))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "clone")


@pytest.mark.slow
def test_the_published_script_says_at_once_what_is_missing_and_where_it_goes(clone: Path, tmp_path: Path):
    done = program(tmp_path, "bash", str(clone / "train_test_L2G_voc.sh"), check=False)
    assert done.returncode == 1
    for place in ("data/voc12/train_cls.txt", "data/voc12/JPEGImages", "data/voc12/Sal", "data/weights/"):
        assert str(clone / place) in done.stderr
    assert not (clone / "runs").exists()


SMALL = {"width": 0.0625, "resize": 64, "input_size": 48, "crop_size": 32, "batch_size": 2, "num_workers": 0}
SMALL |= {"cam_scales": [0.5, 1.0], "num_patches": 4, "channels_last": False}
SMALL_SEGMENTATION = {
    "MODEL": {"N_BLOCKS": [1, 1, 1, 1], "WIDTH": 0.0625, "ATROUS_RATES": [1, 2], "SCALES": [0.5]},
    "DATALOADER": {"NUM_WORKERS": 0},
    "IMAGE": {"SIZE": {"TRAIN": 33}},
    "SOLVER": {"BATCH_SIZE": {"TRAIN": 2}, "ITER_SIZE": 1, "ITER_MAX": 2, "ITER_SAVE": 2, "LR_DECAY": 1},
}
DEVKIT = Path("deeplabv2", "VOCdevkit", "VOC2012")
EPOCHS = {"EXP": "exp", "EPOCHS": "1", "CDA_EPOCHS": "1"}


def make_published_folder(root: Path) -> None:
    """Small data, lists, weights and foregrounds in the locations of the published README."""
    data, lists = root / "data" / "voc12", root / DEVKIT / "ImageSets" / "SegmentationAug"
    make_demo_data.run(make_demo_data.DemoDataOptions(out=data, num_train=6, num_val=2))
    (data / "classes.txt").unlink()
    lists.mkdir(parents=True)
    shutil.copy(data / "train.txt", lists / "train_aug.txt")
    shutil.copy(data / "val.txt", lists / "test.txt")
    (data / "val.txt").rename(lists / "val.txt")
    (data / "train.txt").rename(data / "train1.txt")
    write_small_resnet38(root / "models" / "ilsvrc-cls_rna-a1_cls1000_ep-0001.params", width=SMALL["width"])
    size = {name.lower(): value for name, value in SMALL_SEGMENTATION["MODEL"].items() if name != "SCALES"}
    write_small_resnet101(root / "deeplabv2" / "weights" / "deeplabv1_resnet101-coco.pth", **size)
    objects = [block(20, 20, tag=tag) for tag in range(len(VOC_CLASSES))]
    bank = make_small_bank(root / "bank", objects, VOC_CLASSES)
    export_bank(ForegroundBank.open(bank, VOC_CLASSES), root / "sem_seg_fg", bgr=False)
    shrink(root / "configs" / "voc12.yaml", SMALL)
    shrink(root / "deeplabv2" / "configs" / "voc12_coco_pretrained.yaml", SMALL_SEGMENTATION)


def shrink(preset: Path, values: dict) -> None:
    """Write the values into a preset, so that unmodified published commands train a small network."""
    content = yaml.safe_load(preset.read_text())
    for key, value in values.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    preset.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the published folders, after the published training script."""
    root = copy_project(tmp_path_factory.mktemp("published") / "clone")
    make_published_folder(root)
    program(root, "bash", "train_test_L2G_voc.sh", **EPOCHS)
    return root


@pytest.mark.slow
def test_the_published_script_does_both_stages_with_the_published_bank(published: Path):
    run = published / "runs" / "exp"
    assert files_below(run / "model") == {"pascal_voc_epoch_0.pth", "pascal_voc_epoch_1.pth"}
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [0, 1]
    trained = load_options(TrainOptions, run / "config.yaml")
    assert (trained.cda, trained.epochs, trained.lr) == ("cda+", 2, 0.0005)
    assert len(read_index(published / "sem_seg_fg" / "exp")) == len(VOC_CLASSES)
    assert json.loads((run / "cam" / "settings.json").read_text())["checkpoint"] == "pascal_voc_epoch_1.pth"
    assert len(list((published / "data" / "voc12" / "pseudo_seg_labels_exp").glob("*.png"))) == 6
    assert len(list((run / "ms" / "accu_att_zoom").glob("*.png"))) >= 6
    assert "pseudo_seg_labels_exp" in (run / "report" / "index.html").read_text()


@pytest.mark.slow
def test_the_published_readme_goes_on_to_the_end_from_any_folder(published: Path, tmp_path: Path):
    run, segmentation = published / "runs" / "exp", published / "deeplabv2" / "data"
    before = (run / "cam_scores.json").read_bytes()
    python_of(published, "evaluate.py", "--experiment_name", "exp")
    assert (run / "cam_scores.json").read_bytes() == before
    done = program(tmp_path, "bash", str(published / "test_l2g_voc.sh"), EXP="exp")
    assert "6 images done" not in done.stdout and len(list((run / "ms" / "attention").glob("*.png"))) >= 6
    program(tmp_path, "bash", str(published / "gen_gt_voc.sh"), EXP="exp")
    python_of(published, "res.py", "--experiment_name", "exp")
    program(published / "deeplabv2", "bash", "run_voc12_coco_pretrained.sh", EXP="exp")
    [scores] = segmentation.glob("scores/exp/**/scores.json")
    assert json.loads(scores.read_text())["images"] == 2 and (scores.parent / "scores_crf.json").is_file()
    with tarfile.open(scores.parent / "results.tar.gz") as archive:
        names = {Path(member.name).name for member in archive.getmembers() if member.isfile()}
    assert names == {"demo_val_00000.png", "demo_val_00001.png"}
    again = program(tmp_path, "bash", str(published / "train_test_L2G_voc.sh"), **EPOCHS)
    assert "epoch 1/" not in again.stderr and "epoch 2/" not in again.stderr  # nothing is trained twice
    assert "6 images done, 0 to do" in again.stdout


@pytest.mark.slow
def test_published_weights_that_were_laid_in_give_labels_a_bank_and_the_second_stage(published: Path):
    run, bank = published / "runs" / "laid", published / "sem_seg_fg" / "laid"
    epochs = {"EXP": "laid", "EPOCHS": "10", "CDA_EPOCHS": "1"}
    early = program(published, "bash", "train_test_L2G_voc.sh", check=False, STAGE="2", **epochs)
    assert early.returncode == 1 and "run with STAGE=1 first" in early.stderr
    weights = run / "model" / "pascal_voc_epoch_9.pth"
    weights.parent.mkdir(parents=True)
    own = published / "runs" / "exp" / "model" / "pascal_voc_epoch_0.pth"
    convert_weights.run(convert_weights.ConvertOptions(str(own), str(weights), to="published"))
    torch.save({**torch.load(weights, weights_only=True), "epoch": 9}, weights)
    program(published, "bash", "test_l2g_voc.sh", "laid")
    program(published, "bash", "gen_gt_voc.sh", "laid")
    labels = published / "data" / "voc12" / "pseudo_seg_labels_laid"
    assert len(list(labels.glob("*.png"))) == 6 and not (run / "config.yaml").exists()
    show_the_masks(published, run)
    listing = published / "sem_seg_fg" / "seg_fg_dirs.npy"
    listing.unlink()  # the bank is then made from the labels
    program(published, "bash", "train_test_L2G_voc.sh", STAGE="bank", **epochs)
    assert len(read_index(bank)) >= 1
    program(published, "bash", "train_test_L2G_voc.sh", STAGE="2", **epochs)
    assert files_below(run / "model") == {"pascal_voc_epoch_9.pth", "pascal_voc_epoch_10.pth"}
    assert load_options(TrainOptions, run / "config.yaml").cda_bank == str(bank)


def python_of(clone: Path, script: str, *flags: str) -> subprocess.CompletedProcess:
    return program(clone, sys.executable, script, *flags)


def show_the_masks(clone: Path, run: Path) -> None:
    """Replace the CAMs of a hardly trained run by the masks, since a bank needs objects."""
    for path in (run / "cam").glob("*.npz"):
        mask = read_label(clone / "data" / "voc12" / "SegmentationClass" / f"{path.stem}.png")
        keys, _ = read_cam(path)
        write_cam(path, keys, np.stack([(mask == key + 1) * np.uint8(255) for key in keys]))


@pytest.mark.slow
def test_the_coco_script_does_its_one_stage_and_the_others_take_its_run(clone: Path, tmp_path: Path):
    data, run = clone / "data" / "coco14", clone / "runs" / "l2g_coco"
    prepare_coco.run(prepare_coco.PrepareCocoOptions(coco=str(make_coco(tmp_path)), out=data, num_workers=1))
    for path in (data / "JPEGImages").iterdir():
        write_image(data / "Sal" / f"{path.stem}.png", block_mask(255))
    flags = [*(flag for flag in TINY if not flag.startswith("--epochs")), "--init_weights=none"]
    script = ["bash", str(clone / "train_test_L2G_coco.sh"), "l2g_coco", *flags, "--channels_last=false"]
    refused = program(tmp_path, *script, check=False, STAGE="bank")
    assert refused.returncode == 2 and "CDA_EPOCHS=0 skips" in refused.stderr
    program(tmp_path, *script, EPOCHS="1")
    assert files_below(run / "model") == {"mscoco_epoch_0.pth"}
    assert load_options(TrainOptions, run / "config.yaml").bg_threshold == 0.1
    assert not (clone / "sem_seg_fg" / "l2g_coco").exists()
    labels = data / "pseudo_seg_labels_l2g_coco"
    assert len(list(labels.glob("*.png"))) == 2 and (run / "contact_sheet.png").is_file()
    shutil.rmtree(labels)
    program(tmp_path, "bash", str(clone / "test_l2g_coco.sh"))  # the same run without giving its name
    program(tmp_path, "bash", str(clone / "gen_gt_coco.sh"))
    assert len(list((run / "ms" / "attention").glob("*.png"))) == 4 and len(list(labels.glob("*.png"))) == 2
