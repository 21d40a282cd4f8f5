"""Memory of the CPU."""

import ctypes
import sys

# parameters of mallopt (malloc.h)
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # bytes


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next allocation. Returns whether it agreed; only glibc does.

    A network allocates the same maps in every step. By default, glibc returns large ones to the system when they are
    freed, and the system clears each page again on first use: a quarter of a small network's training step on some
    virtual machines (docs/results.md). Afterwards, the process keeps as much memory as it needed at most.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is None:  # another C library
        return False
    return all([set_parameter(_MMAP_MAX, 0), set_parameter(_TRIM_THRESHOLD, _NEVER)])
