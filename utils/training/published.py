"""Checkpoints in the format of the published programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.errors import UserError

PREFIX = "module."  # the published networks are saved and loaded inside DataParallel
NETWORKS = ("state_dict", "local_dict")
NEW_LAYERS = ("fc8", "f8_3", "f8_4", "f9")  # trained at ten times the learning rate
BACKBONE = "base."  # prefix of the multi-scale segmentation network


def published_checkpoint(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Convert a checkpoint of this project to the format that the published programs load strictly.

    Classifier: state_dict and local_dict with the prefix `module.`, epoch, and an optimizer without momentum in the
    published groups, which the scripts for COCO and of L2G require. Segmentation network: the plain state dict.
    path: for error messages. Raises UserError if the published programs do not have these networks.
    """
    if all(isinstance(content.get(name), dict) for name in NETWORKS):
        return _classifier(content, path)
    weights = content.get("state_dict", content)
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError("contains no state dict", path, "expected a checkpoint of train_l2g.py or deeplabv2/main.py")
    names = {name.removeprefix(BACKBONE) for name in weights}
    if {"layer1.conv1.conv.weight", "aspp.c0.weight"} <= names:
        return {BACKBONE + name.removeprefix(BACKBONE): tensor for name, tensor in weights.items()}
    raise UserError(
        "is neither a pair of classifiers (state_dict, local_dict) nor a DeepLabV2_ResNet101",
        path,
        "the published programs have no other networks",
    )


def _classifier(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    networks = {
        name: {PREFIX + key.removeprefix(PREFIX): tensor for key, tensor in content[name].items()} for name in NETWORKS
    }
    if any(f"{PREFIX}{layer}.weight" not in network for network in networks.values() for layer in ("conv1a", "fc8")):
        raise UserError("contains networks with another backbone", path, "the published programs only have resnet38")
    options = content.get("options", {})
    return {**networks, "epoch": _epoch(content), "optimizer": _optimizer(networks, options.get("lr", 0.001))}


def _epoch(content: Mapping[str, Any]) -> int:
    """Return the last complete epoch, counted from 0."""
    if "epoch" in content:
        return int(content["epoch"])
    return int(content.get("step", 0)) // max(1, int(content.get("steps_per_epoch", 1))) - 1


def _optimizer(networks: Mapping[str, Mapping[str, Tensor]], lr: float) -> dict[str, Any]:
    """Return the state of a new SGD over the published groups: only convolutions, of one network after the other.

    Weights, biases, new weights, new biases, at lr, 2 lr, 10 lr, 20 lr; biases without decay.
    """
    members = {name: _parameters(network) for name, network in networks.items()}
    groups, first = [], 0
    for kind, (factor, decay) in enumerate(((1, 5e-4), (2, 0.0), (10, 5e-4), (20, 0.0))):
        for name in networks:
            count = len(members[name][kind])
            settings = {"lr": factor * lr, "momentum": 0.9, "dampening": 0, "weight_decay": decay, "nesterov": True}
            groups.append({**settings, "params": list(range(first, first + count))})
            first += count
    return {"state": {}, "param_groups": groups}


def _parameters(network: Mapping[str, Tensor]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return the names of the convolutions' weights and biases, of pretrained layers, then of new ones."""
    groups: tuple[list[str], list[str], list[str], list[str]] = ([], [], [], [])
    for name, tensor in network.items():
        layer, _, leaf = name.removeprefix(PREFIX).rpartition(".")
        if leaf != "weight" or tensor.ndim != 4:
            continue
        first = 2 if layer in NEW_LAYERS else 0
        groups[first].append(name)
        if (bias := name.removesuffix("weight") + "bias") in network:
            groups[first + 1].append(bias)
    return groups
