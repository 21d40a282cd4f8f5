"""Settings of the engine, in small groups; each program makes them once from its own options."""

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
    """How parameters move. clip_grad is the largest norm of the whole gradient; 0 does not clip.

    average: the largest share that the moving average of the weights keeps in a step (see WeightAverage); above 0 it
    is the average that checkpoints hold as the network.
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
    """The factor on every base learning rate, a pure function of the step; `steps` is the length of the run."""

    steps: int
    kind: Literal["step", "poly"] = "poly"
    power: float = 0.9
    every: int = 1
    decay_steps: tuple[int, ...] = ()
    decay_factor: float = 0.1
    warmup_steps: int = 0
    warmup_factor: float = 0.01

    def factor(self, step: int) -> float:
        """The factor at `step`, counted from 0."""
        if self.kind == "poly":
            factor = poly(step, self.steps, power=self.power, every=self.every)
        else:
            factor = step_decay(step, self.decay_steps, factor=self.decay_factor)
        return factor * warm_up(step, self.warmup_steps, start=self.warmup_factor)


@dataclass(frozen=True)
class Machine:
    """How steps are computed: precision, memory layout, batch norms over processes, worker processes that read.

    recompute: activation checkpointing. compile: by torch.compile. tf32, deterministic: see utils.runtime.choices.
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
    """Which samples a step draws.

    A step takes batch_size * accumulate images per process. whole_epochs: images that do not fill the last step of an
    epoch wait for an epoch that draws them earlier; otherwise epochs follow each other without a gap, also inside a
    step. variants: what follows (epoch, index) in the keys of an image's samples in a batch, one key per variant.
    """

    batch_size: int
    accumulate: int
    seed: int
    whole_epochs: bool
    variants: tuple[tuple[bool, ...], ...] = PLAIN

    def steps_per_epoch(self, num_images: int, world_size: int) -> int:
        """Whole steps that the images fill. Raises UserError where they do not fill one."""
        step = self.batch_size * self.accumulate * world_size
        if num_images < step:
            raise UserError(
                f"{num_images} images do not fill one step of {step}", remedy="lower --batch_size or --accumulate"
            )
        return num_images // step


@dataclass(frozen=True)
class Saving:
    """When a run records and writes, in steps.

    unit: what kept checkpoints are numbered in. interval: steps per line of means. keep_every: steps between kept
    checkpoints, the newest `keep` of which stay. minutes: between checkpoints that only serve to resume. log_every:
    steps between points of the curves. recent: steps that the progress bar and Task.end_of_interval average over.
    """

    unit: Literal["epoch", "iter"]
    interval: int
    keep_every: int
    keep: int
    minutes: float
    log_every: int
    recent: int = 50

    def number(self, steps: int) -> int:
        """The number of the kept checkpoint, or of the line of means, after `steps` steps."""
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
    """The run that is trained: its folder, its options, and where it stands.

    options: a dataclass, written to config.yaml and into checkpoints. facts: by the option's name, what decides which
    samples a step draws and what moves the parameters; resuming demands the same. latest: the checkpoint to resume
    from. final: what the last checkpoint is renamed to. classes: their names, which
    checkpoints keep. length and initial: the options that set the run's length and
    the weights that it starts from. remedy, memory_remedy: what to do about a loss that is not finite, and where memory
    runs out.
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
