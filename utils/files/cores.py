"""How many processes to start: available cores, and a container's limits on CPU and memory."""

import math
import os
import sys
from functools import cache
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
PROCESS_BYTES = 600 << 20  # memory of a worker process with torch and an image


def available_cores() -> int:
    """Return the number of cores this process may use; a container may allow fewer than the machine has."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([count, *(limit for group in _groups() if (limit := cores_of_quota(group)))])


def thread_count() -> int:
    """Return the number of threads of a library's own pool: available cores, at most the first of OMP_NUM_THREADS."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(available_cores(), int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else available_cores()


@cache
def worker_count() -> int:
    """Return the number of processes that cores and memory allow. Prints once if a container limits it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = available_cores()
    memory = min((limit for group in _groups() if (limit := bytes_of_limit(group))), default=None)
    count = quota if memory is None else max(1, min(quota, memory // PROCESS_BYTES))
    if count < cores:
        reason = "memory limit" if count < quota else "CPU quota"
        print(f"using {count} processes on {cores} cores because of the container's {reason}", file=sys.stderr)
    return count


def cores_of_quota(group: Path) -> int | None:
    """Return the CPU quota of a control group (v1 or v2) in cores, rounded up. None if there is no quota."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # max, -1, or no such file
    return max(1, math.ceil(int(quota) / int(period)))


def bytes_of_limit(group: Path) -> int | None:
    """Return the memory limit of a control group in bytes. None if there is no limit."""
    limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
    return int(limit) if limit.isdigit() and int(limit) < 1 << 60 else None  # v1 writes about 2**63 for no limit


@cache
def _groups() -> list[Path]:
    """Return the control groups (v1 or v2) of this process and their parents."""
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
