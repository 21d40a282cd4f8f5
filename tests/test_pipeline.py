"""The pipeline as a user runs it: programs and shell scripts on files, and exactly the files that they leave."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import make_demo_data, prepare_coco
from tests.small_downloads import block_mask, make_coco
from utils.cam.artefact import read_cam, write_cam
from utils.config.options import TrainOptions
from utils.config.parser import load_options
from utils.copy_paste.bank import read_index
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
    """Runs a program of the project from `folder`, in which no relative path leads to the project."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def python(folder: Path, script: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess:
    return program(folder, sys.executable, str(PROJECT_ROOT / script), *flags, check=check)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with dataset and run after every stage, and what each stage printed."""
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


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project's files without data, runs and environment, as a fresh clone has them."""
    keep = shutil.ignore_patterns(".venv", ".git", "runs", "data", "__pycache__", ".*_cache")
    return Path(shutil.copytree(PROJECT_ROOT, tmp_path / "clone", ignore=keep))


def test_the_published_script_says_at_once_what_is_missing_and_where_it_goes(clone: Path, tmp_path: Path):
    done = program(tmp_path, "bash", str(clone / "train_test_L2G_voc.sh"), check=False)
    assert done.returncode == 1
    for place in ("data/voc12/train_cls.txt", "data/voc12/JPEGImages", "data/voc12/Sal", "data/weights/"):
        assert str(clone / place) in done.stderr
    assert not (clone / "runs").exists()


def test_the_published_script_does_both_stages_from_any_folder(clone: Path, tmp_path: Path):
    data, run = clone / "data" / "voc12", clone / "runs" / "exp"
    make_demo_data.run(make_demo_data.DemoDataOptions(out=data, num_train=6, num_val=2))
    flags = [*(flag for flag in TINY if not flag.startswith(("--epochs", "--lr"))), "--init_weights=none"]
    script = ["bash", str(clone / "train_test_L2G_voc.sh"), "exp", *flags, "--channels_last=false"]
    epochs = {"EPOCHS": "1", "CDA_EPOCHS": "1"}
    early = program(tmp_path, *script, check=False, STAGE="2", **epochs)
    assert early.returncode == 1 and "run with STAGE=1 first" in early.stderr
    program(tmp_path, *script, STAGE="1", **epochs)
    assert files_below(run / "model") == {"pascal_voc_epoch_0.pth"}
    show_the_masks(clone, tmp_path)
    program(tmp_path, *script, **epochs)
    assert files_below(run / "model") == {"pascal_voc_epoch_0.pth", "pascal_voc_epoch_1.pth"}
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [0, 1]
    trained = load_options(TrainOptions, run / "config.yaml")
    assert (trained.cda, trained.epochs, trained.lr) == ("cda+", 2, 0.0005)
    assert len(read_index(clone / "sem_seg_fg" / "exp")) >= 1
    assert json.loads((run / "cam" / "settings.json").read_text())["checkpoint"] == "pascal_voc_epoch_1.pth"
    assert len(list((data / "pseudo_seg_labels_exp").glob("*.png"))) == 6
    assert len(list((run / "ms" / "accu_att_zoom").glob("*.png"))) >= 6
    assert "pseudo_seg_labels_exp" in (run / "report" / "index.html").read_text()
    again = program(tmp_path, *script, **epochs)
    assert "epoch 1/" not in again.stderr and "epoch 2/" not in again.stderr  # nothing is trained twice
    assert "6 images are there, 0 to do" in again.stdout


def show_the_masks(clone: Path, folder: Path) -> None:
    """Puts the masks in the place of the CAMs of a run that has hardly been trained: a bank needs objects."""
    program(folder, sys.executable, str(clone / "test_l2g.py"), "--experiment_name=exp", "--num_workers=0")
    for path in (clone / "runs" / "exp" / "cam").glob("*.npz"):
        mask = read_label(clone / "data" / "voc12" / "SegmentationClass" / f"{path.stem}.png")
        keys, _ = read_cam(path)
        write_cam(path, keys, np.stack([(mask == key + 1) * np.uint8(255) for key in keys]))


def test_the_coco_script_does_its_one_stage_and_the_others_take_its_run(clone: Path, tmp_path: Path):
    data, run = clone / "data" / "coco14", clone / "runs" / "l2g_coco"
    prepare_coco.run(prepare_coco.PrepareCocoOptions(str(make_coco(tmp_path)), out=data, num_workers=1))
    for path in (data / "JPEGImages").iterdir():
        write_image(data / "Sal" / f"{path.stem}.png", block_mask(255))
    flags = [*(flag for flag in TINY if not flag.startswith("--epochs")), "--init_weights=none"]
    script = ["bash", str(clone / "train_test_L2G_coco.sh"), "l2g_coco", *flags, "--channels_last=false"]
    refused = program(tmp_path, *script, check=False, STAGE="bank")
    assert refused.returncode == 2 and "CDA_EPOCHS=0 leaves out" in refused.stderr
    program(tmp_path, *script, EPOCHS="1")
    assert files_below(run / "model") == {"mscoco_epoch_0.pth"}
    assert load_options(TrainOptions, run / "config.yaml").bg_threshold == 0.1
    assert not (clone / "sem_seg_fg" / "l2g_coco").exists()
    labels = data / "pseudo_seg_labels_l2g_coco"
    assert len(list(labels.glob("*.png"))) == 2 and (run / "contact_sheet.png").is_file()
    shutil.rmtree(labels)
    program(tmp_path, "bash", str(clone / "test_l2g_coco.sh"))  # the same run without naming it
    program(tmp_path, "bash", str(clone / "gen_gt_coco.sh"))
    assert len(list((run / "ms" / "attention").glob("*.png"))) == 4 and len(list(labels.glob("*.png"))) == 2
