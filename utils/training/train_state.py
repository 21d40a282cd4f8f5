"""What a training checkpoint holds, and how a run is put back to where it was written."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from utils.config.options import TrainOptions
from utils.training.checkpoint import read_checkpoint
from utils.training.train_loop import Averages, Position, Stepper

# options that tell which images a step draws
SAME_ON_RESUME = ("batch_size", "accumulate", "seed")


def state_of(
    networks: Mapping[str, nn.Module],
    stepper: Stepper,
    options: TrainOptions,
    steps_per_epoch: int,
    position: Position,
) -> dict[str, Any]:
    """Everything that a checkpoint holds: networks by name, optimiser, position, options, and what randomness needs."""
    return {name: network.state_dict() for name, network in networks.items()} | {
        "optimizer": stepper.optimizer.state_dict(),
        "scaler": stepper.scaler.state_dict(),
        "step": position.step,
        "steps_per_epoch": steps_per_epoch,
        "averages": position.averages.sums,
        "options": asdict(options),
        # a step's and a sample's randomness follow from these numbers: see classifier_loop and l2g_data
        "random_state": {"seed": options.seed, "step": position.step},
    }


def restore(
    path: Path,
    networks: Mapping[str, nn.Module],
    stepper: Stepper,
    options: TrainOptions,
    *,
    steps_per_epoch: int,
    load: Callable[..., None],
) -> Position:
    """Puts a run back to where `path` was written; rate, momentum and decay go on as the options say now.

    load(network, state, which=name) fills a network from the checkpoint. Raises ValueError if the steps would draw
    other images than those of the run.
    """
    state = read_checkpoint(path)
    _check_same_run(path, state, options, steps_per_epoch)
    for name, network in networks.items():
        load(network, state, which=name)
    restore_optimizer(stepper, state)
    return Position(state["step"], Averages(state["averages"]))


def restore_optimizer(stepper: Stepper, state: Mapping[str, Any]) -> None:
    """Gives the optimiser its momentum and moments back; rate, momentum's factor and decay stay as the options say."""
    settings = [{k: v for k, v in g.items() if k != "params"} for g in stepper.optimizer.param_groups]
    stepper.optimizer.load_state_dict(state["optimizer"])
    for group, setting in zip(stepper.optimizer.param_groups, settings):
        group.update(setting)
    stepper.scaler.load_state_dict(state["scaler"])


def go_on_from(
    path: Path, state: Mapping[str, Any], stepper: Stepper, *, start_epoch: int, steps_per_epoch: int
) -> Position:
    """The place of a new run that goes on, as epoch `start_epoch`, where another run's checkpoint was written.

    Raises ValueError if the checkpoint was not written after the epoch before, or holds no optimiser.
    """
    if "optimizer" not in state:
        raise ValueError(
            f"{path} holds weights without an optimiser's state: start anew from them with --load_checkpoint "
            "and without --start_epoch"
        )
    if state.get("epoch") != start_epoch - 1:
        raise ValueError(
            f"{path} was written {_when(state)}: --start_epoch={start_epoch} goes on from the checkpoint after epoch "
            f"{start_epoch - 1}"
        )
    restore_optimizer(stepper, state)
    return Position(start_epoch * steps_per_epoch)


def _when(state: Mapping[str, Any]) -> str:
    return f"after epoch {state['epoch']}" if "epoch" in state else f"inside an epoch, at step {state['step']}"


def _check_same_run(path: Path, state: Mapping[str, Any], options: TrainOptions, steps_per_epoch: int) -> None:
    if "optimizer" not in state:
        raise ValueError(f"{path} holds weights without a run to resume: start from it with --load_checkpoint={path}")
    then = {"steps an epoch": state["steps_per_epoch"]} | {name: state["options"][name] for name in SAME_ON_RESUME}
    now = {"steps an epoch": steps_per_epoch} | {name: getattr(options, name) for name in SAME_ON_RESUME}
    if changed := [f"{then[name]} {name}, now {now[name]}" for name in now if then[name] != now[name]]:
        raise ValueError(
            f"{path} was written with {'; '.join(changed)}: "
            "resume with the same list, batch size, accumulation, seed and number of processes"
        )
    if state["step"] > options.epochs * steps_per_epoch:
        done = state["step"] / steps_per_epoch
        raise ValueError(f"{path} has {done:g} epochs behind it, --epochs={options.epochs} asks for fewer")
