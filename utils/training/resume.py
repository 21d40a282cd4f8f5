"""Checks whether a run may resume from a checkpoint: one whose next steps would differ is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.training.checkpoint import LIVE
from utils.training.settings import Run

# facts that checkpoints of older versions do not contain
LATER = ("digest of the list and its tags", "digest of the corrected list")


def check_new(latest: Path | None, *, resume: bool, name: str) -> None:
    """Raise UserError if a run has a checkpoint but resume is False. name: the option that names runs."""
    if latest and not resume:
        raise UserError("already exists", latest, remedy=f"add --resume to continue, or choose another {name}")


def is_foreign(state: Mapping[str, Any]) -> bool:
    """Return whether another program, such as the published one, wrote the checkpoint, judging by its optimiser."""
    return "optimizer" in state and "facts" not in state


def check_same_run(path: Path, state: Mapping[str, Any], run: Run, *, total: int, averaged: bool) -> None:
    """Raise UserError if the steps after the checkpoint would differ from those of the run that wrote it.

    averaged: whether the run averages its weights.
    """
    if not _is_state(state):
        raise UserError(
            "contains weights without the state of a run",
            path,
            "--resume needs a checkpoint written by this program",
            f"start from it with {run.initial}={path}",
        )
    if (LIVE in state) != averaged:
        raise UserError(
            f"was written {'with' if LIVE in state else 'without'} averaged weights",
            path,
            "--resume needs the settings that the run started with",
            "restore the setting of the average, or give the run another name",
        )
    check_facts(path, state["facts"], run.facts)
    if state.get("images", run.images) != run.images:
        run.log.info(
            f"WARNING: images were replaced since {path} was written: the network has learnt from the earlier ones; to "
            "train it only on the current ones, give the run another name"
        )
    check_length(path, state["step"], run, total=total)


def check_facts(path: Path, then: Any, now: Mapping[str, Any]) -> None:
    """Raise UserError if a run would continue with other settings than those stored in its checkpoint, or with none."""
    if not isinstance(then, Mapping):
        raise UserError("contains no settings of its run", path, "it is not of this run", "move the file elsewhere")
    known = [name for name in now if name in then or name not in LATER]
    if changed := [f"{name}: was {then.get(name)}, is {now[name]}" for name in known if then.get(name) != now[name]]:
        raise UserError(
            f"was written with other settings ({'; '.join(changed)})",
            path,
            "--resume needs the settings that the run started with",
            "restore them, or give the run another name",
        )


def _is_state(state: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint contains the state from which a run resumes, in the trainer's format."""
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
    """Raise UserError if the run would end before the checkpoint's `step`."""
    if step > total:
        raise UserError(
            f"is at step {step}, this run ends after {total}",
            path,
            "--resume needs a run of at least as many steps",
            f"raise {run.length}",
        )


def check_epoch_before(path: Path, state: Mapping[str, Any], start_epoch: int) -> None:
    """Raise UserError unless the checkpoint was written after epoch `start_epoch` - 1 with an optimiser's state."""
    if "optimizer" not in state:
        raise UserError(
            "contains weights without an optimiser's state",
            path,
            f"--start_epoch={start_epoch} needs an optimiser's state",
            "start from only the weights with --load_checkpoint and without --start_epoch",
        )
    if state.get("epoch") != start_epoch - 1:
        when = f"after epoch {state['epoch']}" if "epoch" in state else f"within an epoch, at step {state.get('step')}"
        raise UserError(
            f"was written {when}",
            path,
            f"--start_epoch={start_epoch} continues from the checkpoint after epoch {start_epoch - 1}",
        )
