"""The segmentation trainer's loop: a run counted in steps, with records and checkpoints at its intervals."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from deeplabv2.losses import total_loss
from deeplabv2.models import Segmenter
from utils.runtime.process import Process
from utils.runtime.stop import StopRequest
from utils.training.step_loop import Saver, leave, optimiser_step, progress_bar, run_steps
from utils.training.train_loop import Averages, Position, Recorder, Stepper, Timer

RESUME_FLAG = "--resume"
NOT_FINITE_REMEDY = "Lower --SOLVER.LR, set --SOLVER.CLIP_GRAD=5, or train with --SOLVER.AMP=off"


class LossOfSegmenter(nn.Module):
    """A network and its loss in one module: images and labels in, the loss out."""

    def __init__(self, network: Segmenter, *, kind: str, gamma: float) -> None:
        super().__init__()
        self.network, self.kind, self.gamma = network, kind, gamma

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """images (N, 3, S, S) prepared, labels (N, S, S) long -> the loss, summed over the network's scales."""
        return total_loss(self.network(images), labels, self.kind, gamma=self.gamma)


def loss_module(network: Segmenter, *, kind: str, gamma: float, process: Process) -> nn.Module:
    """The network with its loss; gradients are averaged over processes where there are several."""
    model = LossOfSegmenter(network, kind=kind, gamma=gamma)
    if process.world_size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[process.device.index] if process.device.type == "cuda" else None)


def train_segmenter(
    model: nn.Module,
    stepper: Stepper,
    loader: DataLoader,
    *,
    position: Position,
    rate_factor: Callable[[int], float],
    saver: Saver,
    recorder: Recorder,
    iter_max: int,
    iter_save: int,
    iter_log: int,
    amp: str,
    channels_last: bool,
    seed: int,
    save_minutes: float,
    process: Process,
) -> None:
    """Trains from `position` to step iter_max, with a line of means every iter_log steps and at the end.

    Checkpoints that stay are written every iter_save steps and at the end; those to resume from every `save_minutes`,
    and when it is asked to stop (SIGINT, SIGTERM). `loader` gives the batches of all steps to come. A stopped run
    leaves with status 130, unless it was at its last step. Raises NonFiniteLossError.
    """
    model.train()
    do_step = partial(
        optimiser_step,
        partial(_losses_of, model),
        model,
        stepper,
        iter(loader),
        amp=amp,
        channels_last=channels_last,
        process=process,
        remedy=NOT_FINITE_REMEDY,
    )
    go_on = partial(
        run_steps,
        do_step,
        position,
        stepper=stepper,
        rate_factor=rate_factor,
        seed=seed,
        saver=saver,
        recorder=recorder,
        timer=Timer(save_minutes),
        process=process,
        resume_flag=RESUME_FLAG,
    )
    with StopRequest() as stop, recorder, progress_bar(iter_max, position.step, "training", process) as bar:
        while position.step < iter_max:
            go_on(next_end(position.step, iter_log, iter_save, iter_max=iter_max), stop=stop, bar=bar)
            at_end = position.step == iter_max
            if at_end or position.step % iter_log == 0:
                recorder.steps(position.step, position.averages.means(), bar.format_dict["rate"])
                position.averages = Averages()
            if is_kept := at_end or position.step % iter_save == 0:
                saver.to_keep(position, position.step)
            if not at_end and process.any(stop.asked):
                if not is_kept:
                    saver.to_resume(position)
                leave(recorder, position, RESUME_FLAG)


def next_end(step: int, *intervals: int, iter_max: int) -> int:
    """The first step after `step` at which an interval ends, or the whole training."""
    return min(iter_max, *(step // interval * interval + interval for interval in intervals))


def _losses_of(model: nn.Module, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {"loss": model(**batch)}, {}
