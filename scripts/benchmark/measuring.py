"""Comparisons of two ways on one machine: times in turns, rows of a table, verdicts."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from utils.files.atomic import atomic_path


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of both ways and their ratio; a rate has `ours` alone; None is what was not measured.

    The ratio, or without one `ours`, has to reach `at_least` or stay under `below`.
    """

    what: str
    ours: float | None = None
    plain: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    below: float | None = None
    note: str = ""

    @property
    def required(self) -> str:
        """What the value has to reach, or nothing where it is only reported."""
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
    ways: Mapping[str, Callable[[], Any]], repeats: int, *, verbose: bool = True
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds and last result of each way; in turns, so that a machine that slows down slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - start)
            if verbose:
                print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


def print_table(rows: Sequence[Row]) -> None:
    """One line a comparison, with what it has to reach and whether it does."""
    print(f"{'what':<36}{'ours':>10}{'plain':>10}{'ratio':>8}  {'required':<14}")
    for row in rows:
        ours, plain, ratio = ("-" if v is None else f"{v:.3g}" for v in (row.ours, row.plain, row.ratio))
        print(f"{row.what:<36}{ours:>10}{plain:>10}{ratio:>8}  {row.required:<14} {row.verdict:<14}{row.note}".rstrip())


def write_rows(path: Path, options: Any, rows: Sequence[Row]) -> None:
    """Writes rows and the options (a dataclass) that they were measured with as JSON."""
    listed = [{**asdict(row), "required": row.required, "verdict": row.verdict} for row in rows]
    content = {"options": asdict(options), "threads": torch.get_num_threads(), "rows": listed}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
