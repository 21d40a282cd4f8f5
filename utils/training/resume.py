"""Whether a checkpoint may be continued from: one that would give other steps is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.training.checkpoint import LIVE
from utils.training.settings import Run


def check_new(latest: Path | None, *, resume: bool, name: str) -> None:
    """Raises UserError where a run has a checkpoint and is not to be resumed. `name` is the option that names runs."""
    if latest and not resume:
        raise UserError("already exists", latest, remedy=f"add --resume to continue, or choose another {name}")


def is_foreign(state: Mapping[str, Any]) -> bool:
    """Whether another program, such as the published one, wrote the checkpoint: its optimiser has other groups."""
    return "optimizer" in state and "facts" not in state


def check_same_run(path: Path, state: Mapping[str, Any], run: Run, *, total: int, averaged: bool) -> None:
    """Raises UserError if the steps after the checkpoint would not be those of the run that wrote it.

    averaged: whether the run averages its weights.
    """
    if not _is_state(state):
        raise UserError(
            "holds weights without the state of a run",
            path,
            "--resume needs a checkpoint that this program wrote",
            f"start from it with {run.initial}={path}",
        )
    if (LIVE in state) != averaged:
        raise UserError(
            f"was written {'with' if LIVE in state else 'without'} averaged weights",
            path,
            "--resume needs the settings that the run began with",
            "restore the average's setting, or give the run another name",
        )
    then, now = state["facts"], run.facts
    if changed := [f"{name}: {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]]:
        raise UserError(
            f"was written with other settings ({'; '.join(changed)})",
            path,
            "--resume needs those that the run began with",
            "restore them, or give the run another name",
        )
    check_length(path, state["step"], run, total=total)


def _is_state(state: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds what a run continues from, in the form in which the trainer writes it."""
    step, averages, optimizer = state.get("step"), state.get("averages"), state.get("optimizer")
    return (
        isinstance(step, int)
        and step >= 0
        and isinstance(state.get("facts"), Mapping)
        and isinstance(averages, Mapping)
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in averages.values())
        and isinstance(optimizer, Mapping)
        and isinstance(optimizer.get("param_groups"), list)
        and all(isinstance(group, Mapping) and "params" in group for group in optimizer["param_groups"])
    )


def check_length(path: Path, step: int, run: Run, *, total: int) -> None:
    """Raises UserError where the run would end before the checkpoint's `step`."""
    if step > total:
        raise UserError(
            f"has {step} steps behind it, this run ends after {total}",
            path,
            "--resume needs a run of at least as many steps",
            f"raise {run.length}",
        )


def check_epoch_before(path: Path, state: Mapping[str, Any], start_epoch: int) -> None:
    """Raises UserError unless the checkpoint ends epoch `start_epoch` - 1 and holds an optimiser's state."""
    if "optimizer" not in state:
        raise UserError(
            "holds weights without an optimiser's state",
            path,
            f"--start_epoch={start_epoch} continues an optimiser",
            "start from the weights alone with --load_checkpoint and without --start_epoch",
        )
    if state.get("epoch") != start_epoch - 1:
        when = f"after epoch {state['epoch']}" if "epoch" in state else f"inside an epoch, at step {state.get('step')}"
        raise UserError(
            f"was written {when}",
            path,
            f"--start_epoch={start_epoch} continues from the checkpoint after epoch {start_epoch - 1}",
        )
