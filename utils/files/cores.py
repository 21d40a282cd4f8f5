"""How many processes are worth starting: cores, and what a container grants of cores and memory."""

import math
import os
import sys
from functools import cache
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
PROCESS_BYTES = 600 << 20  # of a worker with torch, with its image


def available_cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([count, *(limit for group in _groups() if (limit := cores_of_quota(group)))])


@cache
def worker_count() -> int:
    """Processes that cores and memory allow; it is said once where the container is what limits them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = available_cores()
    memory = min((limit for group in _groups() if (limit := bytes_of_limit(group))), default=None)
    count = quota if memory is None else max(1, min(quota, memory // PROCESS_BYTES))
    if count < cores:
        reason = "its memory limit" if count < quota else "its CPU quota"
        print(f"{count} processes, for {cores} cores: the container sets {reason}", file=sys.stderr)
    return count


def cores_of_quota(group: Path) -> int | None:
    """Cores, rounded up, that a control group grants; None without a quota. Both versions of control groups."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # max, -1, or no such file
    return max(1, math.ceil(int(quota) / int(period)))


def bytes_of_limit(group: Path) -> int | None:
    """Bytes of memory that a control group grants; None without a limit."""
    limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
    return int(limit) if limit.isdigit() and int(limit) < 1 << 60 else None  # version 1 writes 2**63 for none


@cache
def _groups() -> list[Path]:
    """The control groups of this process, with those above them, in either version."""
    found = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        root = GROUPS / controllers if controllers else GROUPS
        own = root / path.lstrip("/")
        found += [group for group in (own, *own.parents) if group.is_relative_to(root) and group.is_dir()]
        found += [root] if root.is_dir() else []
    return list(dict.fromkeys(found))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
