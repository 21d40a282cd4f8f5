"""What a training checkpoint holds, and how a training is put back to where it was written."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from deeplabv2.settings import Settings
from utils.training.checkpoint import read_checkpoint
from utils.training.train_loop import Averages, Position, Stepper
from utils.training.train_state import restore_optimizer


def facts_of(settings: Settings, *, num_images: int, world_size: int, labels: str) -> dict[str, Any]:
    """What must be the same where a training goes on: it tells which samples a step draws."""
    return {
        "MODEL.NAME": settings.MODEL.NAME,
        "SOLVER.BATCH_SIZE.TRAIN": settings.SOLVER.BATCH_SIZE.TRAIN,
        "SOLVER.ITER_SIZE": settings.SOLVER.ITER_SIZE,
        "SOLVER.SEED": settings.SOLVER.SEED,
        "number of images": num_images,
        "number of processes": world_size,
        "digest of the labels": labels,
    }


def state_of(
    network: nn.Module, stepper: Stepper, settings: Settings, facts: Mapping[str, Any], position: Position
) -> dict[str, Any]:
    """Everything that a checkpoint holds: network, optimiser, position, settings, facts."""
    return {
        "state_dict": network.state_dict(),
        "optimizer": stepper.optimizer.state_dict(),
        "scaler": stepper.scaler.state_dict(),
        "step": position.step,
        "averages": position.averages.sums,
        "settings": asdict(settings),
        # all randomness of the steps to come follows from SOLVER.SEED, the step, and these
        "facts": dict(facts),
    }


def restore(path: Path, network: nn.Module, stepper: Stepper, facts: Mapping[str, Any], *, iter_max: int) -> Position:
    """Puts a training back to where `path` was written; rate, momentum and decay go on as the settings say now.

    Raises ValueError where the next steps would not be those of that training.
    """
    state = read_checkpoint(path)
    check_same_training(path, state, facts, iter_max=iter_max)
    network.load_state_dict(state["state_dict"])
    restore_optimizer(stepper, state)
    return Position(state["step"], Averages(state["averages"]))


def check_same_training(path: Path, state: Mapping[str, Any], facts: Mapping[str, Any], *, iter_max: int) -> None:
    if "optimizer" not in state or "facts" not in state:
        raise ValueError(f"{path} holds weights without a training to go on with: use them as MODEL.INIT_MODEL")
    then = state["facts"]
    if changed := [f"{name} {then.get(name)}, now {facts[name]}" for name in facts if then.get(name) != facts[name]]:
        raise ValueError(
            f"{path} was written with {'; '.join(changed)}: give what it was begun with, or another EXP.ID or EXP.RUN, "
            f"or delete {path.parent} to begin anew"
        )
    if state["step"] > iter_max:
        raise ValueError(f"{path} has {state['step']} steps behind it, SOLVER.ITER_MAX={iter_max} asks for fewer")
