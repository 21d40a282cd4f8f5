"""Several processes started by torchrun: uneven lists, one that dies, two machines, merged results."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from deeplabv2 import crf, export, predict
from deeplabv2 import test as segmentation_test
from deeplabv2 import train as segmentation
from deeplabv2.settings import Settings
from deeplabv2.step_settings import ExportSettings, PredictSettings, StepSettings
from scripts import make_labels, score_cams, train
from tests.small_run import make_small_run
from tests.small_segmentation import make_segmentation_data, small_flags, small_settings
from tests.small_training import make_training_data, small_options
from utils.config.options import LabelOptions, ScoreOptions
from utils.config.yaml_text import options_text
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT
from utils.training.checkpoint import read_checkpoint

# complete programs, several at a time
pytestmark = pytest.mark.slow

SECONDS_TO_END = 10


def start(*command):
    """Start a program whose output is read later."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def torchrun(*arguments):
    return start(sys.executable, "-m", "torch.distributed.run", *map(str, arguments))


def output_of(process, *, timeout=240):
    text, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, text
    return text


def flags_of(options, tmp_path):
    """Write the options to a file for a program."""
    path = tmp_path / f"{options.experiment_name}.yaml"
    path.write_text(options_text(options))
    return PROJECT_ROOT / "train_l2g.py", f"--config={path}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_machines_train_on_a_list_that_does_not_divide(tmp_path, accumulate):
    """Two agents on one machine. Nine images fill two steps of 2 x 2; the ninth is skipped in that epoch."""
    data = make_training_data(tmp_path, count=9)
    common = {"save_minutes": 1000.0, "freeze_batch_norm": True, "frozen_stages": 0, "dropout": (0.0, 0.0)}
    torch.manual_seed(1)
    start_from = tmp_path / "start.pth"
    network = train.build_model(small_options(data), 2, fresh=False).global_net
    torch.save({"state_dict": network.state_dict()}, start_from)
    common |= {"load_checkpoint": str(start_from)}
    split = {"experiment_name": "two", "batch_size": 2 // accumulate, "accumulate": accumulate, **common}
    two = small_options(data, **split)
    port = free_port()
    agents = [
        torchrun(
            "--nnodes=2", f"--node_rank={rank}", "--nproc_per_node=1", "--master_addr=127.0.0.1",
            f"--master_port={port}", *flags_of(two, tmp_path),
        )
        for rank in (0, 1)
    ]  # fmt: skip
    shown = "".join(output_of(agent) for agent in agents)
    assert shown.count("2 steps per epoch on 2 x cpu") == 1  # only the main process
    found = read_checkpoint(tmp_path / "runs" / "two" / "model" / "toy_epoch_0.pth")
    alone = read_checkpoint(train.run(small_options(data, experiment_name="one", batch_size=4, **common)))
    assert found["step"] == alone["step"] == 2 and found["facts"]["number of processes"] == 2
    for key in ("state_dict", "local_dict"):
        for name, value in alone[key].items():
            assert torch.allclose(found[key][name], value, rtol=1e-3, atol=1e-5), (key, name)
    # resuming with another number of processes is refused, since its steps would draw other images
    resumed = small_options(data, **split, epochs=2, resume=True)
    with pytest.raises(UserError, match="number of processes: was 2, is 1"):
        train.run(resumed)


def end_of(process, fault, *, sign=None):
    """Call fault() when the training starts. Returns its output, and the seconds from there, or `sign`, to its end."""
    lines, began = [], None
    for line in process.stdout:
        lines.append(line)
        if "steps per epoch" in line:
            fault()
            began = time.monotonic() if sign is None else None
        if sign is not None and began is None and sign in line:
            began = time.monotonic()
    process.wait()
    assert began is not None, "".join(lines)
    assert process.returncode != 0
    return "".join(lines), time.monotonic() - began


def test_a_process_that_dies_ends_the_others_and_shows_its_own_error(tmp_path):
    """One image is damaged after the start: the process that reads it ends in the middle of an epoch."""
    data = make_training_data(tmp_path, count=12)
    path = data / "JPEGImages" / "p7.png"
    options = small_options(data, batch_size=1, epochs=30)
    process = torchrun("--nproc_per_node=2", "--standalone", *flags_of(options, tmp_path))
    text, seconds = end_of(process, lambda: path.write_bytes(path.read_bytes()[:1500]), sign="p7.png")
    assert seconds < SECONDS_TO_END
    assert "error: " in next(line for line in text.splitlines() if "p7.png" in line)
    assert "this is a bug" not in text


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_other_and_is_named(tmp_path, rank):
    options = small_options(make_training_data(tmp_path, count=12), batch_size=1, epochs=300)
    process = torchrun("--nproc_per_node=2", "--standalone", *flags_of(options, tmp_path))
    text, seconds = end_of(process, lambda: os.kill(pid_of(process.pid, rank), signal.SIGKILL))
    assert seconds < SECONDS_TO_END
    assert "SIGKILL" in text and f"rank      : {rank} " in text, text
    assert "this is a bug" not in text, text


def pid_of(launcher, rank):
    """Return the process of this rank that the launcher started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"\0RANK={rank}\0" in f"\0{(folder / 'environ').read_text()}":
                return int(folder.name)
        except OSError:
            pass  # it ended
    raise AssertionError(f"no process of rank {rank}")


MAIN = PROJECT_ROOT / "deeplabv2" / "main.py"


@pytest.fixture
def segmented(tmp_path):
    """A dataset with tags and a network of one step, tested by one process."""
    data = make_segmentation_data(tmp_path)
    (data / "train_cls.txt").write_text("".join(f"t{index} {index % 2}\n" for index in range(6)))
    segmentation.run(small_settings(data, Settings, SOLVER__ITER_MAX=1))
    segmentation_test.run(small_settings(data, StepSettings, num_workers=1))
    return data


def content_of(folder):
    """Relative path -> bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_test_that_is_shared_gives_the_scores_of_one_process(segmented):
    """Three images for two processes."""
    out = segmented.parent / "out"
    scores = next(out.rglob("scores.json"))
    alone = json.loads(scores.read_text())
    for path in (out / "features").rglob("*.npz"):
        path.unlink()
    scores.unlink()
    command = [MAIN, "test", *small_flags(segmented), "--num_workers=1"]
    shown = output_of(torchrun("--nproc_per_node=2", "--standalone", *command))
    assert shown.count("3 to do") == 1
    joined = json.loads(scores.read_text())
    for found in (alone, joined):
        found.pop("images_per_second", None)
    assert joined == alone


def test_a_crf_that_is_shared_gives_the_files_of_one_process_and_resumes(segmented):
    out = segmented.parent / "out"
    crf.run(small_settings(segmented, StepSettings, num_workers=1))
    expected = content_of(out)
    labels = sorted(out.rglob("v?.png"))
    assert len(labels) == 3
    command = ["--nproc_per_node=2", "--standalone", MAIN, "crf", *small_flags(segmented), "--num_workers=1"]
    for removed in (labels, labels[1:2]):  # the second: of the second process
        for path in (*removed, *out.rglob("scores_crf.json")):
            path.unlink()
        shown = output_of(torchrun(*command))
        assert shown.count(f"{len(removed)} labels written, {3 - len(removed)} kept") == 1
        assert content_of(out) == expected


def test_a_process_that_cannot_refine_ends_the_other_and_names_its_file(segmented):
    out = segmented.parent / "out"
    logits = next(out.rglob("v1.npz"))  # the second image: of the second process
    logits.write_bytes(logits.read_bytes()[:100])
    process = torchrun("--nproc_per_node=2", "--standalone", MAIN, "crf", *small_flags(segmented), "--num_workers=1")
    text, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "error: " in next(line for line in text.splitlines() if "v1.npz" in line), text
    assert "this is a bug" not in text
    assert not list(out.rglob("scores_crf.json"))


@pytest.mark.parametrize("command", ["predict", "cams"])
def test_outputs_that_are_shared_are_those_of_one_process(segmented, command):
    """Nine photos, or the six images of the training list, for two processes."""
    flags = [command, *small_flags(segmented), "--num_workers=1"]
    flags += [f"--image_dir={segmented / 'JPEGImages'}", "--crf"] if command == "predict" else []
    one, two = (segmented.parent / name for name in ("one", "two"))
    output_of(start(sys.executable, str(MAIN), *flags, f"--out={one}"))
    shown = output_of(torchrun("--nproc_per_node=2", "--standalone", MAIN, *flags, f"--out={two}"))
    assert command == "cams" or shown.count("9 labels written, 0 kept") == 1
    assert content_of(two) == content_of(one)
    assert len(list(two.glob("overlays/*.jpg" if command == "predict" else "*.npz"))) == (
        9 if command == "predict" else 6
    )


def test_an_exported_network_that_is_shared_gives_the_files_of_one_process(segmented):
    pytest.importorskip("onnx", reason="pip install onnx: it writes the file")
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the file")
    one, two, file = (segmented.parent / name for name in ("one", "two", "small.onnx"))
    export.run(small_settings(segmented, ExportSettings, out=str(file)))
    given = {"onnx": str(file), "image_dir": str(segmented / "JPEGImages"), "num_workers": 1}
    predict.run(PredictSettings(**given, out=str(one)))
    flags = [f"--{name}={value}" for name, value in given.items()]
    shown = output_of(torchrun("--nproc_per_node=2", "--standalone", MAIN, "predict", *flags, f"--out={two}"))
    assert shown.count("0 images done, 9 to do") == 1
    assert content_of(two) == content_of(one)


def on_two(program, flags):
    words = [f"--{name}={value}" for name, value in flags.items()]
    return torchrun("--nproc_per_node=2", "--standalone", PROJECT_ROOT / program, *words)


def test_labels_and_scores_that_are_shared_are_those_of_one_process(tmp_path):
    """Three images for two processes, which write one label folder and one file of scores."""
    named = make_small_run(tmp_path)
    saved = [tmp_path / "runs" / "exp" / f"{name}.json" for name in ("cam_scores", "label_scores")]
    labels = {"threshold": 0.3, "label_dir": str(tmp_path / "one"), "num_workers": 1}
    as_labels = {"mode": "png", "pred_dir": str(tmp_path / "one")}
    make_labels.run(LabelOptions(**named, **labels))
    for more in ({}, as_labels):
        score_cams.run(ScoreOptions(**named, num_workers=1, **more))
    expected = [path.read_bytes() for path in saved]
    for path in saved:
        path.unlink()

    for line in ("3 labels written, 0 kept", "0 labels written, 3 kept"):
        shown = output_of(on_two("gen_gt.py", named | labels | {"label_dir": tmp_path / "two"}))
        assert shown.count(line) == 1  # only the main process
    for more in ({}, as_labels):
        output_of(on_two("evaluate.py", named | {"num_workers": 1} | more))
    assert [path.read_bytes() for path in saved] == expected
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.name for path in one] == [path.name for path in two] and len(one) == 4
    assert all(path.read_bytes() == other.read_bytes() for path, other in zip(one, two))
    assert not list((tmp_path / "runs" / "exp").rglob(".processes"))


def test_a_process_that_cannot_score_ends_the_other_and_names_its_file(tmp_path):
    named = make_small_run(tmp_path)
    (tmp_path / "toy" / "SegmentationClass" / "b.png").write_bytes(b"")  # the second image: of the second process
    process = on_two("evaluate.py", named | {"num_workers": 1})
    text, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "error: " in next(line for line in text.splitlines() if "b.png" in line), text
    assert "this is a bug" not in text
    assert not (tmp_path / "runs" / "exp" / "cam_scores.json").exists()
