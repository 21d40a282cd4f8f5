"""Rows about runs: weights, checkpoints, records, CAMs, and files passed between steps."""

from pathlib import Path
from typing import Any

import torch

from tests.stress.case import Case, Check, either, refused, works
from tests.stress.inputs import (
    cam,
    checkpoint,
    cut,
    every,
    only_checkpoint,
    pth,
    remove,
    replaced,
    text,
    with_value,
)  # fmt: skip
from tests.stress.worlds import CAMS, LABELS, RUN, SCORE, TRAIN

RESUME = [*TRAIN, "--resume", "--epochs=2"]
WEIGHTS = [*TRAIN, "--init_weights=w.pth"]
SAFE = [*TRAIN, "--init_weights=w.safetensors"]


def _prefixed(prefix: str, container: str | None, name: str) -> Any:
    """The classifier's backbone with another program's names, in one of the two formats."""

    def make(folder: Path) -> None:
        from safetensors.torch import save_file

        state = torch.load(only_checkpoint(folder), weights_only=True)["state_dict"]
        state = {prefix + key: value.clone() for key, value in state.items()}
        if name.endswith(".pth"):
            torch.save({container: state} if container else state, folder / name)
        else:
            save_file(state, folder / name)

    return make


def _no_lines_twice(folder: Path, printed: str) -> str | None:
    lines = (folder / "runs/exp/metrics.jsonl").read_text().splitlines()
    return None if len(lines) == 2 and all(line.endswith("}") for line in lines) else f"metrics.jsonl: {lines}"


def _no_leftovers(folder: Path, printed: str) -> str | None:
    left = [str(path) for path in folder.rglob("*.tmp*")]
    return f"left: {left}" if left else None


def _leftover(folder: Path) -> None:
    import socket

    host = socket.gethostname().replace(".", "-")
    path = folder / f"runs/exp/model/.toy_epoch_0.999999@{host}.tmp.pth"
    path.write_bytes(bytes(1000))


def _nothing_changed(name: str) -> Check:
    return lambda folder, printed: None if (folder / name).is_file() else f"{name} is gone"


_OTHER_CLASSES = every(
    text("toy/classes.txt", "dog\nhorse\n"),
)

RUNS = (
    Case("weights NaN in the checkpoint", "run", [*CAMS, "--update"], refused("NaN|finite"), with_value(float("nan"))),
    Case("weights infinite in the checkpoint", "run", [*CAMS, "--update"], refused("infin|finite"), with_value(float("inf"))),
    Case("weights forgotten, layers frozen", "toy", [*TRAIN, "--frozen_stages=2"], refused("init_weights", "frozen_stages")),
    Case("weights forgotten, norms frozen", "toy", [*TRAIN, "--freeze_batch_norm=true"], refused("init_weights")),
    *(
        Case(f"weights {what}", "toy", WEIGHTS, refused("w.pth"), pth("w.pth", content))
        for what, content in (
            ("a list", [1, 2]), ("a tensor", torch.zeros(3)), ("None", None), ("an int", 3), ("empty", {}),
            ("of another network", {"a.weight": torch.zeros(3, 3)}), ("text", "weights"), ("nested lists", {"model": [1]}),
        )
    ),
    Case("weights an HTML page", "toy", WEIGHTS, refused("w.pth", "web page"), text("w.pth", "<!DOCTYPE html><html>")),
    Case("weights a web page after a space", "toy", WEIGHTS, refused("w.pth"), text("w.pth", "\n  <html>")),
    Case("weights an LFS pointer", "toy", WEIGHTS, refused("LFS"), text("w.pth", "version https://git-lfs.github.com/spec")),
    Case("weights of zero bytes", "toy", WEIGHTS, refused("w.pth"), text("w.pth", "")),
    Case("weights random bytes", "toy", WEIGHTS, refused("w.pth"), text("w.pth", bytes(range(256)) * 9)),
    Case("weights a folder", "toy", [*TRAIN, "--init_weights=toy"], refused("toy")),
    Case("weights safetensors garbage", "toy", SAFE, refused("w.safetensors"), text("w.safetensors", b"\xff" * 99)),
    Case("weights safetensors empty", "toy", SAFE, refused("w.safetensors"), text("w.safetensors", "")),
    Case("weights safetensors prefix", "run", [*SAFE, *RUN, "--experiment_name=b"], works(), _prefixed("timm_model.", None, "w.safetensors")),
    Case("weights safetensors two prefixes", "run", [*SAFE, "--experiment_name=b"], works(), _prefixed("a.b.", None, "w.safetensors")),
    *(
        Case(f"weights under {key}", "run", [*WEIGHTS, "--experiment_name=b"], works(), _prefixed("module.", key, "w.pth"))
        for key in ("model", "model_ema", "state_dict", "state_dict_ema", "net", "network", "weights", "student", "teacher")
    ),
    Case("weights imagenet without a network", "segmentation", "HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 TORCH_HOME=$PWD/t $PY $ROOT/deeplabv2/main.py train --MODEL.INIT_MODEL=imagenet --MODEL.NAME=DeepLabV2_ResNet101 --DATASET.ROOT=toy --DATASET.LABEL_DIR=labels --DATASET.SPLIT.TRAIN=train --EXP.OUTPUT_DIR=$PWD/o", refused("imagenet", "INIT_MODEL")),
    Case("weights of timm without a network", "toy", "HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 HF_HOME=$PWD/h $PY $ROOT/train_l2g.py --experiment_name=e --runs_dir=r --dataset=toy --backbone=timm:resnet18 --init_weights=timm --device=cpu --resize=64 --input_size=64 --crop_size=32", refused("init_weights"), seconds=40),

    Case("resume with another optimiser", "run", [*RESUME, "--optimizer=adamw"], refused("optimizer")),
    Case("resume with another kd_weight", "run", [*RESUME, "--kd_weight=0"], either()),
    Case("resume with a zero loss weight", "run", [*RESUME, "--global_cls_weight=0.5"], either()),
    Case("resume with another width", "run", [*RESUME, "--width=0.125"], refused("epoch_0")),
    Case("resume with another backbone", "run", [*RESUME, "--attention=se"], refused("epoch_0|attention")),
    Case("resume of a truncated newest checkpoint", "run", RESUME, refused("delete"),
         lambda folder: cut(str(only_checkpoint(folder).relative_to(folder)))(folder)),
    Case("resume of a truncated newest of two", "run", "$PY $ROOT/train_l2g.py " + " ".join(RESUME[1:]) + " && truncate -s -30 runs/exp/model/toy_epoch_1.pth && $PY $ROOT/train_l2g.py " + " ".join(RESUME[1:]), works("epoch_0")),
    Case("resume of a checkpoint without its keys", "run", RESUME, refused("epoch_0"), checkpoint(lambda c: {"state_dict": c["state_dict"]})),
    Case("resume of a checkpoint that is a list", "run", RESUME, refused("epoch_0"), checkpoint(lambda c: [1])),
    *(
        Case(f"resume of a checkpoint whose {key} is {value!r}", "run", RESUME, refused("epoch_0"), checkpoint(lambda c, key=key, value=value: {**c, key: value}))
        for key, value in (("step", "x"), ("step", -5), ("averages", 3), ("facts", [1]), ("optimizer", 3), ("optimizer", {"state": {}, "param_groups": []}), ("state_dict", 3), ("local_dict", {}))
    ),
    Case("resume where metrics.jsonl is cut", "run", RESUME, works(check=_no_lines_twice), lambda folder: (folder / "runs/exp/metrics.jsonl").open("a").write('{"epoch": 1, "st')),
    Case("resume where metrics.jsonl is binary", "run", RESUME, refused("metrics.jsonl"), text("runs/exp/metrics.jsonl", b"\xff\xfe\0\1")),
    Case("resume where metrics.jsonl is foreign", "run", RESUME, either(), text("runs/exp/metrics.jsonl", '[1]\n"x"\n{"step": "a"}\n')),
    Case("resume removes leftovers", "run", RESUME, works(check=_no_leftovers), _leftover),
    Case("resume after a class was renamed", "run", RESUME, refused("cat", "horse"), _OTHER_CLASSES),
    Case("resume after a tag was changed", "run", RESUME, refused("epoch_0", "list and its tags"), replaced("toy/train_cls.txt", "p0 0", "p0 1")),
    Case("resume after an image was replaced", "run", RESUME, works("images were replaced"), lambda folder: _replace(folder)),
    Case("resume a finished run after an image was replaced", "run", [*TRAIN, "--resume"], works("images were replaced"), lambda folder: _replace(folder)),

    Case("run a cut config.yaml", "run", CAMS, refused("config.yaml"), cut("runs/exp/config.yaml", 5)),
    Case("run an empty config.yaml", "run", CAMS, either("config.yaml|dataset"), text("runs/exp/config.yaml", "")),
    Case("run no config.yaml", "run", CAMS, refused("config.yaml"), remove("runs/exp/config.yaml")),
    Case("run settings.json of CAMs empty", "run", CAMS, refused("settings.json"), text("runs/exp/cam/settings.json", "")),
    Case("run settings.json of CAMs a list", "run", CAMS, refused("settings.json"), text("runs/exp/cam/settings.json", "[]")),
    Case("run cam_scores.json empty", "run", LABELS, refused("cam_scores.json"), text("runs/exp/cam_scores.json", "")),
    Case("run cam_scores.json a list", "run", LABELS, refused("cam_scores.json"), text("runs/exp/cam_scores.json", "[]")),
    Case("run cam_scores.json without a number", "run", LABELS, refused("cam_scores.json"), replaced("runs/exp/cam_scores.json", '"best_threshold": ', '"best_threshold": "x", "old": ')),
    Case("run cam_scores.json a threshold of 7", "run", LABELS, refused("threshold"), replaced("runs/exp/cam_scores.json", '"best_threshold": ', '"best_threshold": 7, "old": ')),
    Case("run label_settings.json empty", "run", [*LABELS, "--threshold=0.3", "--overwrite"], either("label_settings.json"), text("labels/label_settings.json", "")),
    Case("run label_settings.json a list", "run", [*LABELS, "--threshold=0.3"], refused("label_settings.json"), text("labels/label_settings.json", "[]"), before=()),
    Case("run scores without masks or CAMs", "toy", SCORE, refused("config.yaml")),

    Case("cam keys outside of the classes", "run", [*LABELS, "--threshold=0.3"], refused("p0.npz", "class"), cam("p0", [7])),
    Case("cam keys outside of the classes, scored", "run", SCORE, refused("p0.npz"), cam("p0", [7])),
    Case("cam negative keys", "run", [*LABELS, "--threshold=0.3"], refused("p0.npz"), cam("p0", [-1])),
    Case("cam keys twice", "run", [*LABELS, "--threshold=0.3"], refused("p0.npz"), cam("p0", [0, 0])),
    Case("cam keys of tags that the list has not", "run", [*LABELS, "--threshold=0.3"], either(), cam("p0", [1])),
    Case("cam keys 255", "run", [*LABELS, "--threshold=0.3"], refused("p0.npz"), cam("p0", [254])),
    Case("cam of another size", "run", [*LABELS, "--threshold=0.3"], refused("p0", "size"), cam("p0", [0], size=(9, 9))),
    Case("cam cut", "run", [*LABELS, "--threshold=0.3"], refused("p0.npz"), cut("runs/exp/cam/p0.npz", 200)),
    Case("cam of zero bytes", "run", [*LABELS, "--threshold=0.3"], refused("p0.npz"), text("runs/exp/cam/p0.npz", "")),
    Case("cam that unpacks to gigabytes", "run", "ulimit -v 12000000; $PY $ROOT/gen_gt.py --experiment_name=exp --runs_dir=runs --label_dir=labels --threshold=0.3 --num_workers=1", refused("p0"), cam("p0", [0], size=(60000, 60000))),
    Case("handed on: threshold of other CAMs", "run", LABELS, refused("evaluate.py"), before=([*RESUME], [*CAMS, "--update"])),
    Case("scores say what labels ignore", "run", [*SCORE, "--mode=png", "--pred_dir=labels"], works("ignored by the labels"), before=([*LABELS, "--threshold=0.5", "--ignore_below=0.1"],)),
    Case("handed on: threshold given", "run", [*LABELS, "--threshold=0.3"], works(), before=([*RESUME], [*CAMS, "--update"])),
    Case("handed on: labels of other CAMs", "run", [*LABELS, "--threshold=0.3"], works("[1-8] labels written"), before=([*LABELS, "--threshold=0.3"], RESUME, [*CAMS, "--update"])),
    Case("handed on: CAMs after a class was renamed", "run", [*CAMS], refused("cat", "horse"), _OTHER_CLASSES),
    Case("handed on: scores after a class was renamed", "run", [*SCORE], refused("cat", "horse"), _OTHER_CLASSES),
    Case("handed on: labels after a class was renamed", "run", [*LABELS, "--threshold=0.3"], refused("cat", "horse"), _OTHER_CLASSES),
    Case("handed on: labels of replaced images", "run", [*LABELS, "--threshold=0.3"], refused("p0", "test_l2g.py"), lambda folder: _replace(folder)),
    Case("handed on: CAMs of replaced images", "run", CAMS, works("1 to do"), lambda folder: _replace(folder)),
)  # fmt: skip


def _replace(folder: Path) -> None:
    """Replace one image by an older file with different content."""
    import os

    from PIL import Image

    path = folder / "toy/JPEGImages/p0.png"
    Image.new("RGB", (44, 36), "red").save(path)
    os.utime(path, (10**9, 10**9))
