"""Run the table of bad inputs and the kills at random moments, and print the results.

python -m tests.stress [--only TEXT] [--list] [--kills N] [--seed N] [--patience FACTOR]
    [--report FILE] [--keep FOLDER]
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numba  # noqa: F401  every case is a fork of this process, so slow imports are done once
import torch
import torchvision  # noqa: F401

from tests.stress import case as case_module
from tests.stress.case import Case, judge, last_line
from tests.stress.kills import run_kills
from tests.stress.table import CASES
from tests.stress.worlds import Worlds
from utils.runs.segmentation import notes_kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--kills", type=int, default=0, help="kills of each stage, after the cases")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--report", type=Path, help="write the table there as Markdown")
    parser.add_argument("--patience", type=float, default=1, help="factor on the time limits, for a busy machine")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave the folders of failed cases there")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in case.name]
    if options.list:
        print(*(case.name for case in cases), sep="\n")
        return 0
    torch.set_num_threads(1)
    case_module.patience = options.patience
    folder = options.keep or Path(tempfile.mkdtemp(prefix="stress"))
    rows = []
    try:
        with notes_kept():
            worlds = Worlds(folder / "worlds")
            for number, case in enumerate(cases):
                rows.append(_run(case, worlds, folder / f"case{number}", keep=options.keep is not None))
            rows += run_kills(worlds, folder, count=options.kills, seed=options.seed, only=options.only)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        if options.report and rows:
            options.report.write_text(_markdown(rows), encoding="utf-8")
    failed = sum(row[2] is not None for row in rows)
    print(f"{len(rows)} rows, {failed} went wrong")
    return int(failed > 0)


Row = tuple[str, str, str | None, float, str]  # name, expectation, what went wrong, seconds, output


def _run(case: Case, worlds: Worlds, folder: Path, *, keep: bool) -> Row:
    worlds.copy(case.world, folder)
    begun = time.monotonic()
    wrong, ended = judge(case, folder)
    row = (case.name, case.expected.what, wrong, time.monotonic() - begun, last_line(ended.output))
    print(f"{'ok  ' if wrong is None else 'FAIL'} {row[3]:5.1f} s  {case.name}", flush=True)
    if wrong is not None:
        print(f"            {wrong}: {row[4]}" + (f"  ({folder})" if keep else ""), flush=True)
    if wrong is None or not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return row


def _markdown(rows: list[Row]) -> str:
    lines = ["| case | expected | result | seconds |", "|---|---|---|---|"]
    for name, expected, wrong, seconds, _ in rows:
        shown = name.replace("|", r"\|")
        lines.append(f"| {shown} | {expected} | {wrong or 'as expected'} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
