"""Records a run during training: log lines, metrics.jsonl, TensorBoard curves, a progress bar."""

import json
import math
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from utils.files.atomic import append_line, write_lines
from utils.files.disk import disk_errors
from utils.files.text import read_text
from utils.training.settings import Run, Saving

Means = Mapping[str, float]


class Averages:
    """Means of named values over an interval. Checkpoints store the sums, so that a resumed interval is complete."""

    def __init__(self, sums: Mapping[str, list[float]] | None = None) -> None:
        self.sums: dict[str, list[float]] = {name: list(pair) for name, pair in (sums or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.sums.items()}


class MetricsFile:
    """metrics.jsonl: one line per interval. Lines after the step from which a run resumes are removed."""

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        lines = read_text(path).splitlines() if path.is_file() else []
        kept = [line for line in lines if _step(line) <= step]
        if kept != lines:
            write_lines(path, kept)

    def write(self, record: Mapping[str, float | int]) -> None:
        append_line(self.path, json.dumps(dict(record)))


def _step(line: str) -> float:
    """Return the step of a line of metrics.jsonl; infinity for a partial line of a run killed while writing it."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class Recorder:
    """Records the values of a run from `step` of `total` on. Silent unless `is_main`."""

    def __init__(self, run: Run, saving: Saving, *, step: int, total: int, is_main: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here: a plan needs none

        self.log, self.saving = run.log, saving
        self.metrics = MetricsFile(run.paths.metrics, step=step) if is_main else None
        with disk_errors(run.paths.tensorboard, "written"):
            self.curves = SummaryWriter(str(run.paths.tensorboard), purge_step=step) if is_main else None
        self.bar = tqdm(total=total, initial=step, desc="training", unit="step", disable=not is_main, mininterval=1.0)
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=saving.recent))
        self._since = step, time.monotonic()  # of the previous line of means

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.curves:
            self.curves.close()

    def step(self, step: int, values: Mapping[str, float], *, rate_factor: float) -> None:
        """Record the values of one step. The bar shows their means over recent steps."""
        for name, value in values.items():
            self._recent[name].append(value)
        if self.curves and step % self.saving.log_every == 0:
            for name, value in (*values.items(), ("rate_factor", rate_factor)):
                self.curves.add_scalar(name, value, step)
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in self.recent().items()}, refresh=False)

    def recent(self) -> dict[str, float]:
        """Return the mean of every value over the recent steps."""
        return {name: sum(values) / len(values) for name, values in self._recent.items()}

    def interval(self, steps: int, means: Means) -> None:
        """Record the means of the interval that ends after `steps` steps of the run."""
        number, is_epoch = self.saving.number(steps), self.saving.unit == "epoch"
        name = f"epoch {number}" if is_epoch else f"step {steps}"
        self.log.info(f"{name}: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
        first, start = self._since
        now = time.monotonic()
        self._since = steps, now
        if self.metrics:
            place = {"epoch": number, "step": steps} if is_epoch else {"step": steps}
            self.metrics.write({**place, "steps_per_second": (steps - first) / max(now - start, 1e-9), **means})


class Clock:
    """A timer that is due every `minutes`."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True
