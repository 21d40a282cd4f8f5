"""Text files that users write: UTF-8, whatever program they came from."""

from pathlib import Path


def read_text(path: Path) -> str:
    """The file's text, without the mark that Windows programs put first. Raises ValueError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
