"""Compares two implementations on one machine: alternating measurements, rows of a table, verdicts."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from utils.files.atomic import atomic_path


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of both implementations and their ratio. A rate only has `ours`. None: not measured.

    The ratio, or `ours` without one, must reach `at_least` or stay below `below`. floor: lower bound of the seconds
    (floor_of_rate: upper bound of the rate), by the parts that `floor_is` names.
    """

    what: str
    ours: float | None = None
    plain: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    below: float | None = None
    note: str = ""
    floor: float | None = None
    floor_of_rate: float | None = None
    floor_is: str = ""

    @property
    def times_floor(self) -> float | None:
        """How many times longer ours takes than its lower bound."""
        if self.ours and self.floor:
            return self.ours / self.floor
        if self.ours and self.floor_of_rate:
            return self.floor_of_rate / self.ours
        return None

    @property
    def required(self) -> str:
        """The required value; empty if the value is only reported."""
        if self.at_least is None and self.below is None:
            return "-"
        return f"under {self.below:g}" if self.at_least is None else f"at least {self.at_least:g}"

    @property
    def verdict(self) -> str:
        """met, missed, or not measured."""
        value = self.ours if self.ratio is None else self.ratio
        if value is None:
            return "not measured"
        if self.at_least is not None:
            met = value >= self.at_least
        elif self.below is not None:
            met = value < self.below
        else:
            return "measured"
        return "met" if met else "missed"


def in_turns(
    variants: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    verbose: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return median seconds and last result of each implementation, measured in turns so that drift affects all.

    clock: time.process_time, for work of one thread, does not depend on other programs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    results = {}
    for _ in range(repeats):
        for name, variant in variants.items():
            start = clock()
            results[name] = variant()
            seconds[name].append(clock() - start)
            if verbose:
                print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


@dataclass(frozen=True)
class Usage:
    """Seconds of a program and of its processor, and its peak memory in bytes: that of its largest process."""

    cpu: float
    seconds: float
    peak: int


# A small process between: the peak of a process that starts others is counted as theirs.
LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
_, status, usage = os.wait4(subprocess.Popen(sys.argv[2:]).pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    json.dump({"cpu": usage.ru_utime + usage.ru_stime, "seconds": seconds, "peak": usage.ru_maxrss}, file)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def usage_of(command: Sequence[str], *, cache: Path | None = None) -> Usage:
    """Run a Python program. Raises RuntimeError with its output if it fails.

    cache: folder that keeps compiled modules, also where the environment forbids to keep them.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(cache)
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "usage.json"
        start = [sys.executable, "-c", LAUNCHER, str(report), sys.executable, *command]
        done = subprocess.run(start, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        usage = Usage(**json.loads(report.read_text()))
    return replace(usage, peak=usage.peak * (1 if sys.platform == "darwin" else 1024))  # Linux reports KiB


def print_table(rows: Sequence[Row]) -> None:
    """Print one line per comparison, with the required value and the verdict, then how far each is from its floor."""
    print(f"{'measurement':<44}{'ours':>10}{'plain':>10}{'ratio':>8}  {'required':<14} {'verdict':<14}")
    for row in rows:
        ours, plain, ratio = ("-" if v is None else f"{v:.3g}" for v in (row.ours, row.plain, row.ratio))
        print(f"{row.what:<44}{ours:>10}{plain:>10}{ratio:>8}  {row.required:<14} {row.verdict:<14}{row.note}".rstrip())
    if not any(row.times_floor for row in rows):
        return
    print(f"\n{'measurement':<44}{'times its floor':>16}  the floor")
    for row in rows:
        if row.times_floor:
            print(f"{row.what:<44}{row.times_floor:>16.2f}  {row.floor_is}")


def write_rows(path: Path, options: Any, rows: Sequence[Row]) -> None:
    """Write the rows and the options (a dataclass) they were measured with as JSON."""
    listed = [
        {**asdict(row), "required": row.required, "verdict": row.verdict, "times_floor": row.times_floor}
        for row in rows
    ]
    content = {"options": asdict(options), "threads": torch.get_num_threads(), "rows": listed}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
