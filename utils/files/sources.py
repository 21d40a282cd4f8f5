"""Stores a digest of a file's sources in the file itself, to tell whether it is up to date.

Modification times are unreliable: cameras and network drives have wrong clocks, and copies may keep or change them.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from utils.files.disk import disk_errors

T = TypeVar("T")

_NOTE = "made from "
_FOUND = re.compile(rb"made from ([0-9a-f]{32})")
_START, _END = 512, 64  # the note is in the first or last bytes of a file
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_HEADER = len(_PNG) + 25  # signature and IHDR chunk


def digest_of(*files: Path) -> str:
    """Return a digest of the files' contents. Raises UserError if one cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        with disk_errors(file), file.open("rb") as opened:
            # the length before each content keeps the boundaries between files
            content = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16))
        digest.update(content.digest())
    return digest.hexdigest()


def sizes_digest(files: Iterable[Path]) -> str:
    """Return a digest of the files' names and sizes, which is cheap for a whole dataset and notices most replacements.

    Raises UserError if a file is missing.
    """

    def line(file: Path) -> str:
        with disk_errors(file):
            return f"{file.name} {file.stat().st_size}\n"

    with ThreadPoolExecutor(8) as threads:
        return hashlib.blake2b("".join(threads.map(line, files)).encode(), digest_size=8).hexdigest()


def is_made_from(made: Path, *sources: Path) -> bool:
    """Return whether `made` exists and was made from the current content of `sources`.

    A file without a digest (of another program or an older version) is judged by its modification time.
    """
    noted = noted_digest(made)
    if noted is not None:
        return noted == digest_of(*sources)
    return made.is_file() and all(made.stat().st_mtime >= source.stat().st_mtime for source in sources)


def outdated(pairs: Iterable[tuple[Path, tuple[Path, ...]]]) -> list[bool]:
    """Return for each (file, sources) whether the file must be made. Uses threads, since reading waits for the disk."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda pair: not is_made_from(pair[0], *pair[1]), pairs))


def to_do(items: Iterable[T], files: Callable[[T], tuple[Path, ...]]) -> list[T]:
    """Return the items whose file must be made. files(item): its file, then the file's sources."""
    items = list(items)
    stale = outdated((made, tuple(sources)) for made, *sources in map(files, items))
    return [item for item, is_stale in zip(items, stale, strict=True) if is_stale]


def of_replaced_sources(made: Mapping[str, Path], sources: Mapping[str, Path]) -> set[str]:
    """Return the names of `sources` whose file in `made`, if any, notes the digest of another content of its source.

    Unlike `outdated`, a file without a digest counts as current: it may be of another program, and must be kept.
    """

    def is_replaced(name: str) -> bool:
        noted = noted_digest(made[name])
        return noted is not None and noted != digest_of(sources[name])

    names = [name for name in sources if name in made]
    with ThreadPoolExecutor(8) as threads:
        return {name for name, replaced in zip(names, threads.map(is_replaced, names), strict=True) if replaced}


def note_of(digest: str) -> str:
    """Return the text that stands for the digest in files of text, where it must be among the first characters."""
    return _NOTE + digest


def noted_digest(made: Path) -> str | None:
    """Return the digest that note_digest stored in the file. None if the file or the digest is missing."""
    if not made.is_file():
        return None
    with disk_errors(made), made.open("rb") as file:
        start = file.read(_START)
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _END))
        found = _FOUND.search(start) or _FOUND.search(file.read())
    return found[1].decode() if found else None


def note_digest(path: Path, digest: str) -> None:
    """Store the digest in a newly written file, as PNG text, JPEG comment or ZIP comment.

    Raises ValueError for other formats.
    """
    note = note_of(digest).encode()
    content = path.read_bytes()
    if content.startswith(_PNG):
        chunk = b"tEXtSource\0" + note
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        content = content[:_PNG_HEADER] + chunk + content[_PNG_HEADER:]
    elif content.startswith(_JPEG):
        first = 4 + struct.unpack(">H", content[4:6])[0]  # after the JFIF segment, which must come first
        content = content[:first] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + content[first:]
    elif content[-22:-18] == b"PK\x05\x06":
        content = content[:-2] + struct.pack("<H", len(note)) + note
    else:
        raise ValueError(f"{path}: cannot store a digest in a file of this format")
    path.write_bytes(content)
