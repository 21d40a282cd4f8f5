"""Atomic writes: a file is written completely or not at all."""

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.disk import disk_errors, make_folder, write_refusal
from utils.files.sources import note_digest

_HOST = re.sub(r"[^\w-]", "-", socket.gethostname())
_LEFTOVER = re.compile(rf"\..*\.(\d+)@{_HOST}\.tmp(\..*)?")
_swept: set[Path] = set()  # folders in which this process has already removed leftovers


@contextmanager
def atomic_path(path: Path, *, made_from: str = "") -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` if the block succeeds and removed if it fails.

    made_from: digest of the file's sources, stored in the file (see utils.files.sources).
    Raises UserError if the file system refuses the write. An existing file at `path` then stays unchanged.
    """
    make_folder(path.parent)
    _remove_leftovers(path.parent)
    temporary = temporary_name(path)
    try:
        yield temporary
        if made_from:
            note_digest(temporary, made_from)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        refused = write_refusal(error, temporary, path)
        if refused is None:
            raise
        raise refused from error
    finally:
        with suppress(OSError):  # the error that ended the block is more informative
            temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return the temporary path for `path`. Its name identifies this process, so that later runs can remove it."""
    return path.with_name(f".{path.stem}.{os.getpid()}@{_HOST}.tmp{path.suffix}")


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes on this machine that were killed. Done once per folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    with disk_errors(folder, "listed"):
        found = [(folder / name, match) for name in os.listdir(folder) if (match := _LEFTOVER.fullmatch(name))]
    for path, match in found:
        if not _is_running(int(match[1])):
            with suppress(OSError):  # another process removed it first, or another user owns it
                path.unlink()


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # on Windows, os.kill(pid, 0) terminates the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        # file names that are invalid in the locale's encoding contain surrogate escapes; write the original bytes
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write one line of UTF-8 text per item, atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def append_line(path: Path, line: str) -> None:
    """Append a line of UTF-8 text to the file. Raises UserError."""
    make_folder(path.parent)
    with disk_errors(path, "written"), path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(line + "\n")


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    """Write JSON atomically. NaN and infinity are errors."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, remedy: str = "remove it and run the command that wrote it again") -> Any:
    """Read a JSON file. Raises UserError with the remedy if it is missing or damaged."""
    with disk_errors(path):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON ({error})", path, remedy=remedy) from error
