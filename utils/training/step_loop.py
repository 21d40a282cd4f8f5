"""The steps of a training run, for any network: rates, randomness, records, checkpoints, interruption."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from utils.runs.paths import RunPaths
from utils.runtime.device import autocast
from utils.runtime.process import Process
from utils.runtime.seeds import derived_seed
from utils.runtime.stop import StopRequest
from utils.training import checkpoint as ckpt
from utils.training.schedule import set_rates
from utils.training.train_loop import NOT_FINITE_REMEDY, Position, Recorder, Stepper, Timer, check_finite

INTERRUPTED = 130  # the shell's status of a program ended by Ctrl-C

Values = dict[str, Tensor]


class Saver:
    """Writes checkpoints of a run, on the main process alone. state(position) is what they hold.

    Kept ones are numbered in units of `kind`: `epoch`, or `iter` where a run is counted in steps.
    """

    def __init__(
        self,
        paths: RunPaths,
        prefix: str,
        *,
        keep: int,
        process: Process,
        state: Callable[[Position], dict],
        kind: str = "epoch",
    ) -> None:
        self.folder, self.prefix, self.keep, self.kind = paths.model_dir, prefix, keep, kind
        self.process, self.state = process, state

    def to_resume(self, position: Position) -> None:
        """Writes a checkpoint that goes when the next one is there."""
        if self.process.is_main:
            path = ckpt.step_path(self.folder, self.prefix, position.step)
            ckpt.write_checkpoint(path, self.state(position))
            ckpt.thin_out_steps(self.folder, newest=path)
        self.process.wait()

    def to_keep(self, position: Position, number: int) -> None:
        """Writes the checkpoint of a whole epoch or interval; the newest `keep` of these stay."""
        if self.process.is_main:
            ckpt.write_checkpoint(self.path(number), {**self.state(position), self.kind: number})
            ckpt.thin_out(self.folder, keep=self.keep, kind=self.kind)
        self.process.wait()

    def path(self, number: int) -> Path:
        return ckpt.kept_path(self.folder, self.prefix, number, kind=self.kind)


def run_steps(
    do_step: Callable[..., dict[str, float]],
    position: Position,
    end: int,
    *,
    stepper: Stepper,
    rate_factor: Callable[[int], float],
    seed: int,
    saver: Saver,
    recorder: Recorder,
    stop: StopRequest,
    timer: Timer,
    bar: tqdm,
    process: Process,
    resume_flag: str = "--resume",
) -> None:
    """Steps from `position` to `end`, with a checkpoint to resume from when it is time for one or a stop is asked for.

    do_step(step=step) -> named values. A stopped run leaves with status 130, unless it has reached `end`: what an end
    means is for the caller.
    """
    for step in range(position.step, end):
        set_rates(stepper.optimizer, rate_factor(step))
        # dropout of a step follows from (seed, step, rank): a resumed run draws the same
        torch.manual_seed(derived_seed(seed, step, process.rank))
        values = do_step(step=step)
        position.step = step + 1
        position.averages.add(values)
        recorder.step(step, {**values, "rate_factor": rate_factor(step)})
        bar.set_postfix({name: f"{recorder.recent(name):.3g}" for name in values}, refresh=False)
        bar.update()
        if position.step == end:
            return
        if process.any(stop.asked):
            saver.to_resume(position)
            leave(recorder, position, resume_flag)
        # one clock for all processes, else each would ask for a checkpoint of its own
        if process.any(process.is_main and timer.due()):
            saver.to_resume(position)


def leave(recorder: Recorder, position: Position, resume_flag: str = "--resume") -> NoReturn:
    """Ends a stopped run, after its checkpoint."""
    recorder.say(f"stopped after step {position.step}: the same command with {resume_flag} goes on")
    sys.exit(INTERRUPTED)


def optimiser_step(
    values_of: Callable[[dict[str, Tensor]], tuple[Values, Values]],
    model: nn.Module,
    stepper: Stepper,
    samples: Iterator[dict[str, Tensor]],
    *,
    step: int,
    amp: str,
    channels_last: bool,
    process: Process,
    remedy: str = NOT_FINITE_REMEDY,
) -> dict[str, float]:
    """One step over `stepper.accumulate` batches -> means of all values over batches and processes.

    values_of(batch) runs `model` -> (losses by name, whose sum is lowered; values by name that are only recorded).
    Raises NonFiniteLossError.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    totals: Values = {}
    for number in range(stepper.accumulate):
        batch = {name: value.to(process.device, non_blocking=True) for name, value in next(samples).items()}
        batch["images"] = batch["images"].contiguous(memory_format=layout)
        last = number == stepper.accumulate - 1
        # gradients are exchanged once a step
        exchange = model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()
        with exchange:
            with autocast(process.device, amp):
                losses, others = values_of(batch)
            check_finite(losses, step=step, remedy=remedy)
            stepper.backward(sum(losses.values()))
        for name, value in {**losses, **others}.items():
            totals[name] = totals.get(name, 0.0) + value.detach().float()
    stepper.step()
    means = process.mean(torch.stack(list(totals.values())) / stepper.accumulate)
    return dict(zip(totals, means.tolist()))


def progress_bar(total: int, first: int, description: str, process: Process) -> tqdm:
    """Steps done, rate and time left, on the main process."""
    return tqdm(total=total, initial=first, desc=description, unit="step", disable=not process.is_main, mininterval=1.0)
