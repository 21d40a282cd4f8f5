"""Settings of the engine in small groups. Each program builds them once from its options."""

from collections.abc import Mapping
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any, Literal

from utils.config.valid import Precision
from utils.errors import UserError
from utils.runs.paths import RunPaths
from utils.training.schedule import poly, step_decay, warm_up

PLAIN: tuple[tuple[bool, ...], ...] = ((),)  # one sample per image, addressed by (epoch, index)


@dataclass(frozen=True)
class Optimiser:
    """Settings of the optimiser. clip_grad: largest norm of the gradient over all parameters; 0 disables clipping.

    average: largest decay of the moving average of the weights (see WeightAverage). Above 0, checkpoints store the
    average as the network.
    """

    name: Literal["sgd", "adamw"]
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_grad: float = 0.0
    average: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Learning rate factor as a pure function of the step. steps: length of the run."""

    steps: int
    kind: Literal["step", "poly"] = "poly"
    power: float = 0.9
    every: int = 1
    decay_steps: tuple[int, ...] = ()
    decay_factor: float = 0.1
    warmup_steps: int = 0
    warmup_factor: float = 0.01

    def factor(self, step: int) -> float:
        """Return the factor at `step`, counted from 0."""
        if self.kind == "poly":
            factor = poly(step, self.steps, power=self.power, every=self.every)
        else:
            factor = step_decay(step, self.decay_steps, factor=self.decay_factor)
        return factor * warm_up(step, self.warmup_steps, start=self.warmup_factor)


@dataclass(frozen=True)
class Machine:
    """How steps are computed: precision, memory layout, synchronised batch norms, worker processes that read.

    recompute: activation checkpointing. compile: torch.compile. tf32, deterministic: see utils.runtime.choices.
    """

    amp: Precision = "off"
    channels_last: bool = False
    sync_batch_norm: bool = False
    recompute: bool = False
    compile: bool = False
    tf32: bool = True
    deterministic: bool = False
    num_workers: int = 0


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    A step takes batch_size * accumulate images per process. whole_epochs: drop the images that do not fill the last
    step of an epoch; otherwise the next epoch continues within the step. variants: for each sample of an image in a
    batch, what follows (epoch, index) in its key.
    """

    batch_size: int
    accumulate: int
    seed: int
    whole_epochs: bool
    variants: tuple[tuple[bool, ...], ...] = PLAIN

    def steps_per_epoch(self, num_images: int, world_size: int) -> int:
        """Return the number of complete steps per epoch. Raises UserError if the images do not fill one."""
        step = self.batch_size * self.accumulate * world_size
        if num_images < step:
            raise UserError(
                f"{num_images} images do not fill one step of {step}", remedy="lower --batch_size or --accumulate"
            )
        return num_images // step


@dataclass(frozen=True)
class Saving:
    """When a run records and saves, in steps.

    unit: unit in which permanent checkpoints are numbered. interval: steps per line of means. keep_every: steps between
    permanent checkpoints, of which the newest `keep` stay. minutes: time between temporary checkpoints, which only
    serve to resume. log_every: steps between points of the curves. recent: number of steps that the progress bar and
    Task.end_of_interval average over.
    """

    unit: Literal["epoch", "iter"]
    interval: int
    keep_every: int
    keep: int
    minutes: float
    log_every: int
    recent: int = 50

    def number(self, steps: int) -> int:
        """Return the number of the checkpoint or the line of means after `steps` steps."""
        return steps // self.keep_every - 1 if self.unit == "epoch" else steps


@dataclass(frozen=True)
class TrainerSettings:
    """All settings of the engine."""

    optimiser: Optimiser
    schedule: Schedule
    machine: Machine
    sampling: Sampling
    saving: Saving


@dataclass(frozen=True)
class Run:
    """The run to train: its folder, options and progress.

    options: a dataclass, written to config.yaml and into checkpoints. facts: values, by option name, that determine the
    samples of a step and the updates of the parameters; they must match on resume. latest: the checkpoint to resume
    from. final: the name that the last checkpoint gets. classes: class names, stored in checkpoints. length, initial:
    names of the options for the run's length and its initial weights. images: digest of the images' names and sizes;
    a run also resumes with others, and logs it. remedy, memory_remedy: remedies for a non-finite loss and for running
    out of memory.
    """

    paths: RunPaths
    prefix: str
    options: Any
    facts: Mapping[str, Any]
    log: Logger
    length: str
    initial: str
    remedy: str
    memory_remedy: str = ""
    latest: Path | None = None
    final: Path | None = None
    classes: tuple[str, ...] = ()
    images: str = ""
