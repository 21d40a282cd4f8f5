"""Reads text files that users write, and formats names for messages."""

from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError
from utils.files.disk import disk_errors


def read_text(path: Path) -> str:
    """Read UTF-8 text, without the byte order mark of Windows programs. Raises UserError if it is not UTF-8."""
    try:
        with disk_errors(path):
            return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 text (byte {error.start})", path, remedy="save it as UTF-8") from error


def first_few(names: Iterable[str], count: int = 3) -> str:
    """Format the first names for a message: `a, b, c, …`."""
    names = list(names)
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
