"""What a file was made from, noted in the file itself: whether it is current needs no clock.

Dates do not tell: cameras and network drives have wrong clocks, and copies take or lose dates.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from utils.files.disk import disk_errors

T = TypeVar("T")

_NOTE = "made from "
_FOUND = re.compile(rb"made from ([0-9a-f]{32})")
_START, _END = 512, 64  # bytes of a file in which its note stands
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_HEADER = len(_PNG) + 25  # with the chunk IHDR


def digest_of(*files: Path) -> str:
    """A text that files of other content do not have. Raises UserError where one cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        with disk_errors(file), file.open("rb") as opened:
            # a length before each content: the end of one file is not the start of the next
            content = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16))
        digest.update(content.digest())
    return digest.hexdigest()


def is_made_from(made: Path, *sources: Path) -> bool:
    """Whether the file is there and was made from what the sources hold now.

    Of a file without a note, of another program or an older version, only the date tells; made again it has a note.
    """
    noted = noted_digest(made)
    if noted is not None:
        return noted == digest_of(*sources)
    return made.is_file() and all(made.stat().st_mtime >= source.stat().st_mtime for source in sources)


def outdated(pairs: Iterable[tuple[Path, tuple[Path, ...]]]) -> list[bool]:
    """For each file with its sources whether it is still to be made: reading many waits for the disk, so by threads."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda pair: not is_made_from(pair[0], *pair[1]), pairs))


def to_do(items: Iterable[T], files: Callable[[T], tuple[Path, ...]]) -> list[T]:
    """Those of the items that are still to be made; files: an item's file, then the sources of it."""
    items = list(items)
    stale = outdated((made, tuple(sources)) for made, *sources in map(files, items))
    return [item for item, is_stale in zip(items, stale, strict=True) if is_stale]


def noted_digest(made: Path) -> str | None:
    """The digest that note_digest left in the file; None where there is none, or no file."""
    if not made.is_file():
        return None
    with disk_errors(made), made.open("rb") as file:
        start = file.read(_START)
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _END))
        found = _FOUND.search(start) or _FOUND.search(file.read())
    return found[1].decode() if found else None


def note_digest(path: Path, digest: str) -> None:
    """Puts the digest into a file that was just written: a PNG's text, a JPEG's comment, or a ZIP archive's comment.

    Raises ValueError for files of other formats.
    """
    note = (_NOTE + digest).encode()
    content = path.read_bytes()
    if content.startswith(_PNG):
        chunk = b"tEXtSource\0" + note
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        content = content[:_PNG_HEADER] + chunk + content[_PNG_HEADER:]
    elif content.startswith(_JPEG):
        first = 4 + struct.unpack(">H", content[4:6])[0]  # behind JFIF's own segment, which comes first
        content = content[:first] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + content[first:]
    elif content[-22:-18] == b"PK\x05\x06":
        content = content[:-2] + struct.pack("<H", len(note)) + note
    else:
        raise ValueError(f"{path}: no note can be put into a file of this format")
    path.write_bytes(content)
