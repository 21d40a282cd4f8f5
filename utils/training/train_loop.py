"""The pieces of a training loop that do not depend on the network: optimiser steps, records, checkpoints."""

import json
import math
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from utils.files.atomic import atomic_path
from utils.runs.paths import RunPaths
from utils.runtime.device import AMP_TYPES
from utils.runtime.log import open_log

RECENT_STEPS = 50
NOT_FINITE_REMEDY = "Lower --lr, set --clip_grad=5, or train with --amp=off"


class NonFiniteLossError(ValueError):
    """A loss that is not a number stops a run: every step after it would train on nothing."""


def check_finite(losses: Mapping[str, Tensor], *, step: int, remedy: str = NOT_FINITE_REMEDY) -> None:
    """Raises NonFiniteLossError naming the step and every loss if one of them is infinite or not a number."""
    values = {name: value.item() for name, value in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        named = ", ".join(f"{name}={value:g}" for name, value in values.items())
        raise NonFiniteLossError(
            f"step {step}: the loss is not finite ({named}); the last good checkpoint is kept. {remedy}"
        )


class Stepper:
    """One optimiser step from one or more backward passes, with loss scaling for fp16 and a gradient bound."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, accumulate: int, clip_grad: float, amp: str, device: torch.device
    ) -> None:
        self.optimizer, self.accumulate, self.clip_grad = optimizer, accumulate, clip_grad
        self.scaler = torch.amp.GradScaler(device.type, enabled=AMP_TYPES.get(amp) == torch.float16)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def backward(self, loss: Tensor) -> None:
        """Adds one batch's share to the gradient."""
        self.scaler.scale(loss / self.accumulate).backward()

    def step(self) -> None:
        """Moves the parameters and clears the gradient."""
        if self.clip_grad > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


class Averages:
    """Means of named values over an epoch; its state goes into checkpoints, so that a resumed epoch counts whole."""

    def __init__(self, state: Mapping[str, list[float]] | None = None) -> None:
        self.sums: dict[str, list[float]] = {name: list(pair) for name, pair in (state or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.sums.items()}


@dataclass
class Position:
    """How far a run has come: whole steps done, and the averages of the epoch that it is in."""

    step: int = 0
    averages: Averages = field(default_factory=Averages)


class MetricsFile:
    """metrics.jsonl: one line an epoch or interval. Lines after the step that a run resumes from are taken back."""

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        if kept != lines:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))

    def write(self, record: Mapping[str, float | int]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(dict(record)) + "\n")


class Recorder:
    """What a run leaves behind while it trains: log lines, metrics.jsonl, TensorBoard curves. Mute unless `main`."""

    def __init__(
        self, paths: RunPaths, *, step: int, log_every: int, main: bool, recent_steps: int = RECENT_STEPS
    ) -> None:
        self.log = open_log(paths.log if main else None)
        self.metrics = MetricsFile(paths.metrics, step=step) if main else None
        self.curves = SummaryWriter(str(paths.tensorboard), purge_step=step) if main else None
        self.log_every = log_every
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=recent_steps))

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        if self.curves:
            self.curves.close()

    def say(self, message: str) -> None:
        self.log.info(message)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._recent[name].append(value)
            if self.curves and step % self.log_every == 0:
                self.curves.add_scalar(name, value, step)

    def recent(self, name: str) -> float:
        """The mean of a value over the last steps."""
        return sum(self._recent[name]) / len(self._recent[name])

    def epoch(self, epoch: int, step: int, means: Mapping[str, float], steps_per_second: float | None) -> None:
        self._interval(f"epoch {epoch}", {"epoch": epoch, "step": step}, means, steps_per_second)

    def steps(self, step: int, means: Mapping[str, float], steps_per_second: float | None) -> None:
        """Means up to `step` of a run that is counted in steps and not in epochs."""
        self._interval(f"step {step}", {"step": step}, means, steps_per_second)

    def _interval(
        self, name: str, place: Mapping[str, int], means: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        self.say(f"{name}: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
        if self.metrics:
            self.metrics.write({**place, "steps_per_second": steps_per_second or 0.0, **means})


class Timer:
    """Tells when `minutes` have passed since the last time it said so."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True
