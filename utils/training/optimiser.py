"""The optimiser: parameter groups, construction, state in checkpoints."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn
from torch.amp import GradScaler

from utils.errors import UserError
from utils.training.settings import Optimiser

# Biases have twice the learning rate of weights, in pretrained and in new layers.
BIAS_FACTOR = 2.0
BOTH_KINDS = MappingProxyType({"pretrained": BIAS_FACTOR, "new": BIAS_FACTOR})


class HasKinds(Protocol):
    """A network that reports which of its parameters are "pretrained" and which are "new"."""

    def parameter_kinds(self) -> Mapping[str, str]: ...

    def parameter_depths(self) -> Mapping[str, int]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def parameter_groups(
    networks: Iterable[HasKinds],
    *,
    lr: float,
    new_lr_factor: float,
    bias_factors: Mapping[str, float] = BOTH_KINDS,
    biases_without_decay: Collection[str] = (),
    decay_vectors: bool = True,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Group every trainable parameter: pretrained or new, weight or bias, with or without weight decay.

    bias_factors: kind -> factor on the learning rate of its biases. biases_without_decay: kinds whose biases get no
    weight decay. decay_vectors: False exempts all one-dimensional parameters (norms and biases). layer_decay: below 1,
    the learning rate of a pretrained parameter with n layers between it and the head is multiplied by
    layer_decay ** (n + 1), as in BEiT and timm. Raises ValueError for a parameter of unknown kind.
    """
    rates = {"pretrained": lr, "new": lr * new_lr_factor}
    groups: dict[tuple[str, bool, bool, int], list[nn.Parameter]] = {
        (kind, bias, spared, 0): [] for kind in rates for bias in (False, True) for spared in (False, True)
    }
    for network in networks:
        known = network.parameter_kinds()
        depths = network.parameter_depths() if layer_decay < 1 else {}
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            if known.get(name) not in rates:
                raise ValueError(f"parameter {name} has kind {known.get(name)!r}: expected one of {', '.join(rates)}")
            kind, bias = known[name], name.endswith(".bias")
            spared = (bias and kind in biases_without_decay) or (parameter.ndim < 2 and not decay_vectors)
            depth = depths.get(name, 0) + 1 if kind == "pretrained" and layer_decay < 1 else 0
            groups.setdefault((kind, bias, spared, depth), []).append(parameter)
    result = []
    for (kind, bias, spared, depth), members in groups.items():
        if members:
            base_lr = rates[kind] * (bias_factors[kind] if bias else 1.0) * layer_decay**depth
            decay = {"weight_decay": 0.0} if spared else {}
            result.append({"params": members, "base_lr": base_lr, "name": f"{kind} {bias=}", **decay})
    return result


def make_optimizer(network: nn.Module, groups: list[dict[str, Any]], settings: Optimiser) -> torch.optim.Optimizer:
    """Build the optimiser over `groups`, each with its "base_lr".

    Raises ValueError unless every trainable parameter is in exactly one group: a parameter in none would silently keep
    its random initial value.
    """
    held = [id(p) for group in groups for p in group["params"]]
    if sorted(held) != sorted(id(p) for p in network.parameters() if p.requires_grad):
        raise ValueError("a parameter is in two optimiser groups or in none")
    lr, decay = settings.lr, settings.weight_decay
    # a single kernel for all parameters; with a loss scale it also avoids synchronising with the GPU.
    # --plan has parameters without values, on no device
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"]) or None
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=decay, fused=fused)
    sgd = torch.optim.SGD(
        groups, lr=lr, momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=decay, fused=fused
    )
    if fused and settings.momentum:
        # the kernel allocates them in its first step, and leaves them undefined if that one is skipped (fp16)
        for parameter in (p for group in groups for p in group["params"]):
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base learning rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def restore_optimizer(
    optimizer: torch.optim.Optimizer, scaler: GradScaler, state: Mapping[str, Any], *, path: Path
) -> None:
    """Restore momentum, moments and loss scale from a checkpoint, but not learning rate, momentum factor and decay.

    Raises UserError if the checkpoint, read from `path`, is of another optimiser or has other parameters.
    """
    saved, own = state["optimizer"]["param_groups"], optimizer.param_groups
    # betas are AdamW's
    kinds = [[("betas" in group, len(group["params"])) for group in groups] for groups in (saved, own)]
    if kinds[0] != kinds[1]:
        raise UserError(
            "its optimiser is of another kind or has other parameter groups",
            path,
            "resuming needs the same optimiser, layers and frozen stages",
            "give the options that the checkpoint was trained with",
        )
    settings = [{name: value for name, value in group.items() if name != "params"} for group in own]
    optimizer.load_state_dict(state["optimizer"])
    for group, setting in zip(optimizer.param_groups, settings):
        group.update(setting)
        for parameter in group["params"] if setting.get("fused") else ():
            steps = optimizer.state.get(parameter, {}).get("step")
            if (
                steps is not None
            ):  # AdamW's step counts are on the CPU after CPU training, but the fused kernel needs them on the GPU
                optimizer.state[parameter]["step"] = torch.as_tensor(steps, dtype=torch.float32).to(parameter.device)
    if state.get("scaler"):
        scaler.load_state_dict(state["scaler"])
