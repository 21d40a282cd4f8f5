"""Learning rates as pure functions of the step, and the optimiser that they steer."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn

# Biases learn at twice the rate of weights, in pretrained layers and in new ones.
BIAS_FACTOR = 2.0
BOTH_KINDS = MappingProxyType({"pretrained": BIAS_FACTOR, "new": BIAS_FACTOR})


def poly(step: int, total: int, *, power: float, every: int = 1) -> float:
    """Factor on the base rate after `step` of `total` steps: (1 - step / total) ** power, renewed each `every`."""
    step = step // every * every
    return max(0.0, 1.0 - step / total) ** power


def step_decay(epoch: int, decay_epochs: Sequence[int], *, factor: float) -> float:
    """Factor on the base rate in `epoch`, counted from 0: `factor` for each decay epoch that has come."""
    return factor ** bisect_right(sorted(decay_epochs), epoch)


def warm_up(step: int, steps: int, *, start: float) -> float:
    """Factor that rises linearly from `start` to 1 over the first `steps` steps."""
    return 1.0 if step >= steps else start + (1.0 - start) * step / steps


def parameter_groups(
    networks: Iterable[nn.Module],
    kinds: Callable[[nn.Module], Mapping[str, str]],
    *,
    lr: float,
    new_lr_factor: float,
    bias_factors: Mapping[str, float] = BOTH_KINDS,
    biases_without_decay: Collection[str] = (),
) -> list[dict]:
    """Sorts every trainable parameter into one of four groups: pretrained or new, weight or bias.

    kinds(network) tells for each parameter name `pretrained` or `new`. `bias_factors` of each kind multiply the rate
    of its biases; those of the kinds `biases_without_decay` get no weight decay. Raises ValueError if a parameter is
    left out, stands twice or has no known kind: a layer that no group holds would keep its random start in silence.
    """
    rates = {"pretrained": lr, "new": lr * new_lr_factor}
    groups = {(k, b): [] for k in rates for b in (False, True)}
    expected: list[nn.Parameter] = []
    for network in networks:
        known = kinds(network)
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            if known.get(name) not in rates:
                raise ValueError(f"parameter {name} has kind {known.get(name)!r}: legal are {', '.join(rates)}")
            expected.append(parameter)
            groups[known[name], name.endswith(".bias")].append(parameter)
    held = [id(p) for members in groups.values() for p in members]
    if sorted(held) != sorted({id(p) for p in expected}):
        raise ValueError("a parameter stands in two optimiser groups or in none")
    result = []
    for (kind, bias), members in groups.items():
        if members:
            base_lr = rates[kind] * (bias_factors[kind] if bias else 1.0)
            decay = {"weight_decay": 0.0} if bias and kind in biases_without_decay else {}
            result.append({"params": members, "base_lr": base_lr, "name": f"{kind} {bias=}", **decay})
    return result


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Gives every group its base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
