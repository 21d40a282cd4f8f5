"""The whole way of the classifier on a transformer: copy-paste, frozen blocks, layer decay, resuming, CAMs."""

import numpy as np
import pytest
import torch

from models import build_cam_net
from scripts import make_cams, train
from tests.interrupting import ask_to_stop, assert_same_values, at_step
from tests.small_backbones import small_backbones
from tests.small_bank import block, make_small_bank
from tests.small_training import make_training_data, small_options
from utils.cam.artefact import read_cam
from utils.config.options import CamOptions
from utils.errors import UserError
from utils.runs.paths import RunPaths
from utils.training.checkpoint import read_checkpoint

DINO = "timm:vit_small_patch14_reg4_dinov2"


@pytest.fixture(autouse=True)
def _small():
    with small_backbones():
        yield


@pytest.fixture
def options(tmp_path):
    data = make_training_data(tmp_path)
    torch.manual_seed(1)
    torch.save(build_cam_net(DINO, 2).backbone_state(), tmp_path / "init.pth")
    common = {
        "backbone": DINO,
        "width": 1.0,
        "attention": "se",
        "suppression": "learnable",
        "frozen_stages": 2,
        "layer_decay": 0.5,
        "optimizer": "adamw",
        "lr": 1e-3,
        "init_weights": str(tmp_path / "init.pth"),
        "cam_scales": (0.5, 1.0, 1.5),
        "cda": "cda",
        "cda_bank": str(make_small_bank(tmp_path / "bank", [block()], ("cat", "dog"))),
    }
    return lambda **more: small_options(data, **{**common, **more})


def networks_of(options):
    state = read_checkpoint(RunPaths.of(options.runs_dir, options.experiment_name).model_dir / "toy_epoch_0.pth")
    return {name: state[name] for name in ("state_dict", "local_dict")}


def test_a_stopped_and_resumed_run_is_the_uninterrupted_run_and_gives_cams(options, monkeypatch):
    train.run(options(experiment_name="whole"))
    with monkeypatch.context() as patch:
        at_step(patch, 2, ask_to_stop)
        with pytest.raises(SystemExit):
            train.run(options())
    torch.manual_seed(99)  # a new process has another state
    train.run(options(resume=True))
    whole, resumed = networks_of(options(experiment_name="whole")), networks_of(options())
    assert_same_values(whole, resumed)

    start = torch.load(options().init_weights, weights_only=True)
    changed = {n for n, tensor in start.items() if not torch.equal(whole["state_dict"][f"backbone.{n}"], tensor)}
    assert changed and all(n.startswith(("blocks.2.", "blocks.3.", "norm.")) for n in changed)

    made = options()
    folder = make_cams.run(
        CamOptions(experiment_name="exp", runs_dir=made.runs_dir, dataset=made.dataset, num_workers=0, device="cpu")
    )
    keys, cams = read_cam(folder / "p2.npz")
    assert list(keys) == [0, 1] and cams.shape == (2, 36, 44) and np.ptp(cams) > 0


@pytest.mark.parametrize(
    ("wrong", "where"), [({"frozen_stages": 5}, "--frozen_stages"), ({"output_stride": 8}, "--output_stride")]
)
def test_what_the_transformer_cannot_be_is_an_error_that_names_the_option(options, wrong, where):
    with pytest.raises(UserError) as error:
        train.run(options(**wrong))
    assert error.value.where == where


def test_a_frozen_backbone_leaves_the_head_alone_to_learn(options):
    train.run(options(frozen_stages="backbone", cda="off"))
    start = torch.load(options().init_weights, weights_only=True)
    end = networks_of(options())["state_dict"]
    assert all(torch.equal(end[f"backbone.{n}"], tensor) for n, tensor in start.items())
    with pytest.raises(UserError, match="--frozen_stages=backbone"):
        train.run(options(experiment_name="random", frozen_stages="backbone", init_weights="none"))
