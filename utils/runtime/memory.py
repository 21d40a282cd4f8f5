"""Memory of the CPU."""

import ctypes
import sys

# parameters of mallopt (malloc.h)
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1  # documented in mallopt(3)


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next allocation. Only glibc can; elsewhere nothing changes.

    A network allocates the same maps in every step. By default, glibc returns large ones to the system when they are
    freed, and the system clears each page again on first use: a quarter of a small network's training step on some
    virtual machines (docs/results.md). Afterwards, the process keeps as much memory as it needed at most.
    """
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if set_parameter is not None:
        set_parameter(_MMAP_MAX, 0)
        set_parameter(_TRIM_THRESHOLD, _NEVER)
