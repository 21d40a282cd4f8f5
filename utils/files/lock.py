"""One process a folder of results: a second one is refused while the first is alive, however the first ends."""

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
# of file systems, mostly of networks, that lock nothing
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing to the folder for the block. Raises UserError that names who does.

    The system frees it when the process is gone, also by SIGKILL. Of torchrun's processes the first takes it for all.
    Network file systems lock where their server does (NFS 4; NFS 3 with lockd); where nothing is locked, it is said.
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
                path.unlink(missing_ok=True)  # while it is held: nobody else can have it
            os.close(descriptor)


def _take(path: Path) -> int | None:
    """The open and locked file; None where the file system locks nothing."""
    import fcntl  # here: Windows has none

    while True:
        with disk_errors(path, "written"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                print(f"{path.parent}: its file system locks nothing: run one program at a time on it", file=sys.stderr)
                return None
            raise UserError(
                f"is being written by {holder or 'another process'}",
                path.parent,
                "one process at a time writes to a folder",
                "wait until it ends, or give another name",
            ) from error
        if _is_still(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)  # its holder removed the file between opening and locking


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
