"""Files written whole or not at all."""

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
_swept: set[Path] = set()  # folders that this process has cleared of leftovers


@contextmanager
def atomic_path(path: Path, *, made_from: str = "") -> Iterator[Path]:
    """A temporary path beside `path` that becomes it if the block succeeds, and vanishes if it does not.

    made_from: the digest of its sources, which is noted in the file (see utils.files.sources).
    Raises UserError where the file system refuses the file; what stood at `path` stays as it was.
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
        with suppress(OSError):  # the error that ended the block says more
            temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Where this process writes what is to become `path`; the name tells later runs whose it is."""
    return path.with_name(f".{path.stem}.{os.getpid()}@{_HOST}.tmp{path.suffix}")


def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files of processes of this machine that ended before they could do so, once a folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    with disk_errors(folder, "listed"):
        found = [(folder / name, match) for name in os.listdir(folder) if (match := _LEFTOVER.fullmatch(name))]
    for path, match in found:
        if not _is_running(int(match[1])):
            with suppress(OSError):  # another process removed it first, or it is not ours
                path.unlink()


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # elsewhere the question would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        # names of files that the locale's encoding lacks arrive as escapes of their bytes, and leave as these bytes
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes UTF-8 text of one line an item, whole or not at all."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def append_line(path: Path, line: str) -> None:
    """Adds a line of UTF-8 text to the file. Raises UserError."""
    make_folder(path.parent)
    with disk_errors(path, "written"), path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(line + "\n")


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    """Writes JSON that read_json reads back, whole or not at all; NaN and infinity are errors."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, remedy: str = "remove it and run the command that wrote it again") -> Any:
    """What a JSON file holds. Raises UserError with the remedy where it is missing or damaged."""
    with disk_errors(path):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"is not JSON ({error})", path, remedy=remedy) from error
