"""Training on two processes equals training on one with the same global batches."""

import json
import os
import subprocess
import sys

import pytest
import torch

from models import build_cam_net
from scripts import train
from tests.small_training import make_training_data, small_options
from utils.config.parser import save_options
from utils.files.locate import PROJECT_ROOT
from utils.runs.paths import RunPaths
from utils.training.checkpoint import read_checkpoint


def launch(processes, config):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, str(PROJECT_ROOT / "train_l2g.py"), f"--config={config}"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


def read_run(options):
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    (line,) = (json.loads(line) for line in paths.metrics.read_text().splitlines())
    return line, read_checkpoint(paths.model_dir / "toy_epoch_0.pth")


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "width"), [("resnet38", 0.0625), ("timm:test_vit", 1.0)])
def test_two_processes_give_the_losses_and_weights_of_one(tmp_path, backbone, width):
    data = make_training_data(tmp_path)
    torch.manual_seed(1)
    torch.save(build_cam_net(backbone, 2, width=width).backbone_state(), tmp_path / "init.pth")
    common = {
        "backbone": backbone,
        "width": width,
        "accumulate": 2,
        "dropout": (0.0, 0.0),
        "freeze_batch_norm": True,  # trainable ones use the batch
        "init_weights": str(tmp_path / "init.pth"),
    }
    one = small_options(data, experiment_name="one", batch_size=2, **common)
    two = small_options(data, experiment_name="two", batch_size=1, **common)
    train.run(one)
    save_options(two, tmp_path / "two.yaml")
    done = launch(2, tmp_path / "two.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    (line_one, state_one), (line_two, state_two) = read_run(one), read_run(two)
    assert line_one["step"] == line_two["step"] == 2
    for name in ("transfer", "local_cls"):
        assert line_two[name] == pytest.approx(line_one[name], rel=1e-4)
    for name in ("state_dict", "local_dict"):
        for key, value in state_one[name].items():
            assert torch.allclose(state_two[name][key], value, rtol=1e-3, atol=1e-5), key
    log = RunPaths.of(two.runs_dir, "two").log.read_text()
    assert log.count("epoch 0:") == 1  # only the main process writes
