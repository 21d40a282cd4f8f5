"""A lock on a folder of results: only one process at a time writes to it. A killed process releases it."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError
from utils.files.disk import disk_errors, make_folder

LOCK = ".lock"
# error numbers of file systems without locks, mostly network ones
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock the folder for the duration of the block. Raises UserError naming the process that already holds the lock.

    The system releases the lock when the process ends, even by SIGKILL. Under torchrun only the first process locks.
    Network file systems support locks if their server does (NFS 4, NFS 3 with lockd); a file system without locks is
    reported.
    """
    if os.name != "posix" or os.environ.get("RANK", "0") not in ("", "0"):
        yield
        return
    make_folder(folder)
    path = folder / LOCK
    descriptor = _take(path)
    try:
        yield
    finally:
        if descriptor is not None:
            with disk_errors(path, "removed"):
                path.unlink(missing_ok=True)  # removed before the lock is released, so no other process can have it
            os.close(descriptor)


def _take(path: Path) -> int | None:
    """Open and lock the file. Returns its descriptor, or None if the file system has no locks."""
    import fcntl  # not at the top: Windows does not have it

    while True:
        with disk_errors(path, "written"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                print(f"{path.parent}: no locks on this file system: run one program at a time on it", file=sys.stderr)
                return None
            raise UserError(
                f"is being written by {holder or 'another process'}",
                path.parent,
                "only one process at a time may write to a folder",
                "wait until it ends, or give another name",
            ) from error
        if _is_still(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)  # its owner removed the file between opening and locking


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
