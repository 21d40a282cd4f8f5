"""Compares two implementations on one machine: alternating measurements, rows of a table, verdicts."""

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
    variants: Mapping[str, Callable[[], Any]], repeats: int, *, verbose: bool = True
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return median seconds and last result of each implementation, measured in turns so that drift affects all."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    results = {}
    for _ in range(repeats):
        for name, variant in variants.items():
            start = time.perf_counter()
            results[name] = variant()
            seconds[name].append(time.perf_counter() - start)
            if verbose:
                print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


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
