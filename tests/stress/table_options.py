"""Rows about options: every number has a range, every text is read back unchanged."""

from pathlib import Path

from tests.stress.case import Case, refused, works
from tests.stress.inputs import every, text
from tests.stress.worlds import CAMS, LABELS, SCORE, TRAIN, segment

_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


def _train(flag: str, *words: str) -> Case:
    return Case(f"option train {flag}", "toy", [*TRAIN, flag], refused(*words or (flag.split("=")[0].strip("-"),)))


def _segment(flag: str) -> Case:
    return Case(f"option segmentation {flag}", "segmentation", segment("train", flag), refused(flag[2:].split("=")[0]))


def _reads_back(folder: Path, printed: str) -> str | None:
    from utils.config.options import TrainOptions
    from utils.config.parser import load_options

    (config,) = (folder / "runs").glob("*/config.yaml")
    name = load_options(TrainOptions, config).experiment_name
    return None if name == config.parent.name else f"reads back as {name!r}"


OPTIONS = (
    *(
        Case(f"option cams {flag}", "run", [*CAMS, flag], refused(flag[2:].split("=")[0]))
        for flag in (
            "--scales=0", "--scales=-1", "--scales=1e-9", "--scales=[]", "--scales=nan", "--scales=1000",
            "--base_size=-1", "--num_workers=-1", "--batch_size=-1", "--device=gpu", "--device=tpu", "--device=meta",
            "--device=cuda:99", "--device=cpu:7", "--device=",
        )
    ),
    *(
        _train(flag)
        for flag in (
            "--new_lr_factor=-1", "--width=0", "--width=-0.5", "--save_minutes=-1", "--log_every=0", "--crop_size=0",
            "--crop_size=-8", "--kd_weight=-1", "--num_patches=100000", "--seed=-1", "--flip=2", "--num_workers=-1",
            "--device=gpu", "--device=tpu", "--device=meta", "--device=cuda:9", "--lr=nan", "--lr=inf",
            "--momentum=1", "--epochs=0", "--batch_size=1e3", "--frozen_stages=99", "--backbone=nothing",
            "--cam_scales=0", "--std=0,0,0", "--decay_epochs=-1", "--no_such_option=1", "--experiment_name=a/b",
            "--experiment_name=", "--dataset=nowhere", "--mean=1", "--weight_decay=-1",
        )
    ),
    _train("--local_cls_weight=-1"),
    _train("--decay_factor=-1"),
    _train("--experiment_name=" + "x" * 300, "too long"),
    *(
        _segment(flag)
        for flag in (
            "--IMAGE.SIZE.TRAIN=1", "--IMAGE.SIZE.TRAIN=100000", "--MODEL.SCALES=[0.01]", "--DATASET.SCALES=[1000]",
            "--SOLVER.HEAD_LR_FACTOR=-1", "--SOLVER.DEVICE=tpu", "--SOLVER.ITER_MAX=0", "--MODEL.WIDTH=0",
            "--CRF.ITER_MAX=-1", "--DATASET.FLIP=2", "--EXP.ID=../x",
        )
    ),
    Case("option labels --threshold=2", "run", [*LABELS, "--threshold=2"], refused("threshold")),
    Case("option score --thresholds=[]", "run", [*SCORE, "--thresholds=[]"], refused("thresholds")),
    Case("option amp: off in YAML", "toy", [*TRAIN, "--config=o.yaml"], works(), text("o.yaml", "amp: off\ncda: off\n")),
    Case("option a YAML alias bomb", "toy", [*TRAIN, "--config=o.yaml"], refused("o.yaml"), text("o.yaml", _BOMB)),
    Case("option YAML that is binary", "toy", [*TRAIN, "--config=o.yaml"], refused("o.yaml"), text("o.yaml", b"\0\xff")),
    Case("option YAML that is cut", "toy", [*TRAIN, "--config=o.yaml"], refused("o.yaml"), text("o.yaml", "a: [1,")),
    Case("option YAML that is a list", "toy", [*TRAIN, "--config=o.yaml"], refused("o.yaml"), text("o.yaml", "- 1")),
    Case("option YAML that is empty", "toy", [*TRAIN, "--config=o.yaml"], works(), text("o.yaml", "")),
    Case("option YAML that is a folder", "toy", [*TRAIN, "--config=toy"], refused("toy")),
    Case("option YAML that is too deep", "toy", [*TRAIN, "--config=o.yaml"], refused("o.yaml"), text("o.yaml", "[" * 5000)),
    *(
        Case(f"option a run called {name}", "toy", [*TRAIN, f"--experiment_name={name}"], works(check=_reads_back))
        for name in ("1e5", "123e4567", "12e3", "0x1F", "on", "null", "007", "*a", "1_000", "12:30", "2024-01-01", "~")
    ),
    Case(
        "option a segmentation called 1e5", "segmentation",
        segment("train", "--EXP.ID=1e5", "--SOLVER.ITER_MAX=1") + " && " + segment("test", "--EXP.ID=1e5"), works(),
    ),
    Case(
        "option a config.yaml of a dataset 12e3", "toy",
        [*TRAIN, "--dataset=12e3"], works(check=_reads_back), every(lambda folder: (folder / "toy").rename(folder / "12e3")),
    ),
)  # fmt: skip
