"""The classifier's training loop: epochs, steps, records, checkpoints, interruption."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from utils import checkpoint as ckpt
from utils.l2g_data import EpochBatches, derived_seed
from utils.paths import RunPaths
from utils.runtime import Process, StopRequest, autocast
from utils.schedule import set_rates
from utils.train_loop import Averages, Position, Recorder, Stepper, Timer, check_finite

INTERRUPTED = 130  # the shell's status of a program ended by Ctrl-C
ACTIVE_TAGS = "active_tags"
COLLAPSED = 0.05  # share of tags shown by the global network under which its CAMs are background everywhere
COLLAPSE_WARNING = (
    "WARNING: the global network shows {share:.1%} of the images' tags: its CAMs are background everywhere. "
    "Short schedules need a loss whose gradient does not vanish: --kd_loss=balanced "
    "--background_target=complement --kd_weight=1 --clip_grad=5 (as configs/voc_light.yaml)"
)


class Saver:
    """Writes checkpoints of a run, on the main process alone. state(position) is what they hold."""

    def __init__(
        self, paths: RunPaths, prefix: str, *, keep: int, process: Process, state: Callable[[Position], dict]
    ) -> None:
        self.folder, self.prefix, self.keep = paths.model_dir, prefix, keep
        self.process, self.state = process, state

    def inside_epoch(self, position: Position) -> None:
        if self.process.is_main:
            path = ckpt.step_path(self.folder, self.prefix, position.step)
            ckpt.write_checkpoint(path, self.state(position))
            ckpt.thin_out_steps(self.folder, newest=path)
        self.process.wait()

    def epoch(self, position: Position, epoch: int) -> None:
        if self.process.is_main:
            ckpt.write_checkpoint(self.path(epoch), {**self.state(position), "epoch": epoch})
            ckpt.thin_out(self.folder, keep=self.keep)
        self.process.wait()

    def path(self, epoch: int) -> Path:
        return ckpt.epoch_path(self.folder, self.prefix, epoch)


def train_classifier(
    model: nn.Module,
    stepper: Stepper,
    loader: DataLoader,
    batches: EpochBatches,
    *,
    position: Position,
    epochs: int,
    rate_factor: Callable[[int], float],
    saver: Saver,
    recorder: Recorder,
    amp: str,
    channels_last: bool,
    seed: int,
    save_minutes: float,
    process: Process,
) -> Path:
    """Trains from `position` to the end of the last epoch and returns its checkpoint.

    Every `save_minutes`, and when it is asked to stop (SIGINT, SIGTERM), it writes a checkpoint inside the epoch;
    a stopped run leaves with status 130, unless it was at its last step. Raises NonFiniteLossError.
    """
    model.train()
    timer = Timer(save_minutes)
    with StopRequest() as stop, recorder:
        for epoch in range(position.step // batches.steps, epochs):
            first = position.step - epoch * batches.steps
            if first == 0:
                position.averages = Averages()
            batches.start(epoch, first)
            samples = iter(loader)
            with _progress(batches.steps, first, f"epoch {epoch + 1}/{epochs}", process) as bar:
                for step in range(position.step, (epoch + 1) * batches.steps):
                    set_rates(stepper.optimizer, rate_factor(step))
                    # dropout of a step follows from (seed, step, rank): a resumed run draws the same
                    torch.manual_seed(derived_seed(seed, step, process.rank))
                    values = train_step(
                        model, stepper, samples, step=step, amp=amp, channels_last=channels_last, process=process
                    )
                    position.step = step + 1
                    position.averages.add(values)
                    recorder.step(step, {**values, "rate_factor": rate_factor(step)})
                    bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
                    bar.update()
                    if position.step % batches.steps == 0:
                        break  # the epoch's own records and checkpoint come next
                    if process.any(stop.asked):
                        saver.inside_epoch(position)
                        _leave(recorder, position)
                    # one clock for all processes, else each would ask for a checkpoint of its own
                    if process.any(process.is_main and timer.due()):
                        saver.inside_epoch(position)
                recorder.epoch(epoch, position.step, position.averages.means(), bar.format_dict["rate"])
            saver.epoch(position, epoch)
            if recorder.recent(ACTIVE_TAGS) < COLLAPSED:
                recorder.say(COLLAPSE_WARNING.format(share=recorder.recent(ACTIVE_TAGS)))
            if epoch + 1 < epochs and process.any(stop.asked):
                _leave(recorder, position)
    return saver.path(epochs - 1)


def _leave(recorder: Recorder, position: Position) -> NoReturn:
    recorder.say(f"stopped after step {position.step}: the same command with --resume goes on")
    sys.exit(INTERRUPTED)


def train_step(
    model: nn.Module,
    stepper: Stepper,
    samples: Iterator[dict[str, Tensor]],
    *,
    step: int,
    amp: str,
    channels_last: bool,
    process: Process,
) -> dict[str, float]:
    """One optimiser step over `stepper.accumulate` batches -> the losses' means over batches and processes."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    totals: dict[str, Tensor] = {}
    for number in range(stepper.accumulate):
        batch = {name: value.to(process.device, non_blocking=True) for name, value in next(samples).items()}
        batch["images"] = batch["images"].contiguous(memory_format=layout)
        last = number == stepper.accumulate - 1
        # gradients are exchanged once a step
        exchange = model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()
        with exchange:
            with autocast(process.device, amp):
                output = model(**batch)
            check_finite(output.losses, step=step)
            stepper.backward(sum(output.losses.values()))
        for name, value in {**output.losses, ACTIVE_TAGS: output.active_tags}.items():
            totals[name] = totals.get(name, 0.0) + value.detach().float()
    stepper.step()
    means = process.mean(torch.stack(list(totals.values())) / stepper.accumulate)
    return dict(zip(totals, means.tolist()))


def _progress(steps: int, first: int, description: str, process: Process) -> tqdm:
    return tqdm(total=steps, initial=first, desc=description, unit="step", disable=not process.is_main, mininterval=1.0)
