"""Converts errors of the file system to UserErrors that name the path and the remedy."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from utils.errors import UserError

_AGAIN = "then run the same command again"
# errors that the user can fix: error number -> (reason, remedy)
_REFUSALS = {
    errno.ENOSPC: ("no space left on the disk", f"free some space, {_AGAIN}"),
    errno.EDQUOT: ("the disk quota is exceeded", f"free some space, {_AGAIN}"),
    errno.EFBIG: ("the file exceeds the size limit", f"raise the limit (ulimit -f), {_AGAIN}"),
    errno.EROFS: ("the file system is read-only", "use a folder on another file system"),
    errno.EACCES: ("permission denied", "change its permissions (chmod) or use another folder"),
    errno.EPERM: ("operation not permitted", "change its owner or permissions, or use another folder"),
    errno.ENOENT: ("it does not exist", "check the path"),
    errno.ENOTDIR: ("a file is in the way of a folder", "move the file away or use another folder"),
    errno.EEXIST: ("a file is in the way of a folder", "move the file away or use another folder"),
    errno.EISDIR: ("it is a folder, not a file", "move the folder away or use another path"),
    errno.ENAMETOOLONG: ("the name is too long", "use a shorter name"),
    errno.ELOOP: ("its symbolic links form a loop", "remove the link"),
    errno.EMFILE: ("too many open files", f"raise the limit (ulimit -n) or lower --num_workers, {_AGAIN}"),
    errno.EIO: ("the disk reports an input/output error", "check the disk"),
}


def refusal(error: OSError, path: Path, action: str) -> UserError | None:
    """Convert an OSError to a UserError. Returns None if the user cannot fix it.

    action: what was being done with `path`: "read", "written" or "created".
    """
    known = _REFUSALS.get(error.errno or 0)
    if known is None:
        return None
    reason, remedy = known
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        path = next((part for part in (path, *path.parents) if part.is_file()), path)
    return UserError(f"cannot be {action}", path, reason, remedy)


_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def disk_errors(path: Path, action: str = "read") -> Iterator[None]:
    """Convert OSErrors that the user can fix to UserErrors. action: see refusal."""
    try:
        yield
    except OSError as error:
        explained = refusal(error, path, action)
        if explained is None:
            raise
        raise explained from error


def make_folder(path: Path) -> None:
    """Create the folder and its missing parents. Raises UserError."""
    with disk_errors(path, "created"):
        path.mkdir(parents=True, exist_ok=True)


def list_folder(path: Path) -> list[Path]:
    """Return the sorted content of the folder. Raises UserError."""
    with disk_errors(path, "listed"):
        return sorted(path.iterdir())


def remove_file(path: Path) -> None:
    """Remove the file or link if it exists. Raises UserError."""
    with disk_errors(path, "removed"):
        path.unlink(missing_ok=True)


def move_file(path: Path, target: Path) -> None:
    """Rename the file, replacing an existing `target`. Raises UserError."""
    with disk_errors(target, "written"):
        path.replace(target)


def write_refusal(error: Exception, temporary: Path, path: Path) -> UserError | None:
    """Return why `temporary`, to be renamed to `path`, could not be written. None if the file system is not the reason.

    Libraries that write files themselves (torch, Pillow) report a full disk without the error number. A plain write
    to the same file then reveals it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        named = {str(name) for name in (error.filename, error.filename2) if name is not None}  # a copy names both
        is_other_file = bool(named) and not named & {str(temporary), str(path)}
        return None if is_other_file else refusal(error, path, "written")
    if not isinstance(error, (OSError, RuntimeError)):
        return None
    try:
        with temporary.open("ab") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as asked:
        return refusal(asked, path, "written")
    return None


@cache
def can_link(folder: Path) -> bool:
    """Return whether the folder supports links. Prints once if not (exFAT, network drives, Windows)."""
    make_folder(folder)
    probe = folder / f".link.{os.getpid()}"
    try:
        probe.symlink_to(folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            return True  # another reason, which creating the link will report
        print(f"{folder}: this file system does not support links: copying files instead", file=sys.stderr)
        return False
    with disk_errors(probe, "removed"):
        probe.unlink()
    return True
