"""The classifier's training loop: epochs and their ends."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import DataLoader

from utils.l2g_samples import EpochBatches
from utils.runtime.process import Process
from utils.runtime.stop import StopRequest
from utils.training.step_loop import Saver, leave, optimiser_step, progress_bar, run_steps
from utils.training.train_loop import Averages, Position, Recorder, Stepper, Timer

ACTIVE_TAGS = "active_tags"
COLLAPSED = 0.05  # share of tags shown by the global network under which its CAMs are background everywhere
COLLAPSE_WARNING = (
    "WARNING: the global network shows {share:.1%} of the images' tags: its CAMs are background everywhere. "
    "Short schedules need a loss whose gradient does not vanish: --kd_loss=balanced "
    "--background_target=complement --kd_weight=1 --clip_grad=5 (as configs/voc_light.yaml)"
)


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
            do_step = partial(
                train_step,
                model,
                stepper,
                iter(loader),
                amp=amp,
                channels_last=channels_last,
                process=process,
            )
            with progress_bar(batches.steps, first, f"epoch {epoch + 1}/{epochs}", process) as bar:
                run_steps(
                    do_step,
                    position,
                    (epoch + 1) * batches.steps,
                    stepper=stepper,
                    rate_factor=rate_factor,
                    seed=seed,
                    saver=saver,
                    recorder=recorder,
                    stop=stop,
                    timer=timer,
                    bar=bar,
                    process=process,
                )
                recorder.epoch(epoch, position.step, position.averages.means(), bar.format_dict["rate"])
            saver.to_keep(position, epoch)
            if recorder.recent(ACTIVE_TAGS) < COLLAPSED:
                recorder.say(COLLAPSE_WARNING.format(share=recorder.recent(ACTIVE_TAGS)))
            if epoch + 1 < epochs and process.any(stop.asked):
                leave(recorder, position)
    return saver.path(epochs - 1)


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
    return optimiser_step(
        partial(_values_of, model),
        model,
        stepper,
        samples,
        step=step,
        amp=amp,
        channels_last=channels_last,
        process=process,
    )


def _values_of(model: nn.Module, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    output = model(**batch)
    return output.losses, {ACTIVE_TAGS: output.active_tags}
