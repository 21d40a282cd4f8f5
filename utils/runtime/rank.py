"""Rank and number of processes of a distributed run, read from the environment that torchrun sets. Needs no torch."""

import os
import sys
from dataclasses import dataclass

from utils.errors import UserError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = "for a single process: env -u WORLD_SIZE -u RANK COMMAND"


@dataclass(frozen=True)
class Rank:
    """rank: of this process, from 0; world_size: number of processes; local_size: of those on this machine.

    job: text that all processes of one job have in common.
    """

    rank: int = 0
    world_size: int = 1
    local_size: int = 1
    job: str = ""


def read_rank() -> Rank:
    """Read the environment of torchrun or a cluster. Raises UserError if it is inconsistent."""
    given = os.environ.get("WORLD_SIZE", "")
    if given in ("", "1"):
        return Rank()
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        value = os.environ.get(name, "")
        if value and not value.isdigit():
            raise UserError(repr(value), f"environment variable {name}", "torchrun sets it to an integer", ALONE)
    if missing := [name for name in VARIABLES if not os.environ.get(name)]:
        what = f"WORLD_SIZE={given} is set without {', '.join(missing)}"
        raise UserError(what, "environment", "torchrun sets all of them", ALONE)
    if int(os.environ["RANK"]) >= int(given):
        raise UserError(f"RANK={os.environ['RANK']} of WORLD_SIZE={given}", "environment", "ranks count from 0", ALONE)
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # not started by torchrun, so the others may never come
        print(f"waiting at {where} for {given} processes (WORLD_SIZE); {ALONE}", file=sys.stderr, flush=True)
    started = [os.environ.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT")]
    return Rank(
        int(os.environ["RANK"]),
        int(given),
        max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1)),
        " ".join([where, *started]),
    )
