"""Finds the photos in a folder, for every program that reads one, and reports which files are skipped."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import UserError
from utils.files.text import first_few

# formats of photographs that Pillow reads, HEIC with pillow-heif; see utils.data.photos
PHOTO_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".jp2",
        ".j2k",
        ".ppm",
        ".pgm",
        ".avif",
        ".heic",
        ".heif",
        ".hif",
    ]
)
# formats of photographs and drawings that are not supported
RAW_SUFFIXES = frozenset([".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2", ".psd", ".svg", ".jxl"])
# what operating systems and network drives put beside photos, in lower case
SYSTEM_NAMES = frozenset(
    [
        "@eadir",
        "@__thumb",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "picasa.ini",
        "lost+found",
        "icon\r",
    ]
)
SYSTEM_PREFIXES = ("system volume information",)


@dataclass
class FoundPhotos:
    """The sorted photos below a folder, and what was skipped: hidden files, system files, other files by suffix.

    broken_links: links to missing files.
    """

    photos: list[Path] = field(default_factory=list)
    hidden: int = 0
    of_system: int = 0
    others: Counter[str] = field(default_factory=Counter)
    broken_links: list[Path] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return a line per kind of skipped file."""
        raw = {suffix: count for suffix, count in self.others.items() if suffix in RAW_SUFFIXES}
        rest = {suffix: count for suffix, count in self.others.items() if suffix not in RAW_SUFFIXES}
        counted = {
            f"{sum(raw.values())} images of unsupported formats ({_counted(raw)}): save them as JPEG": bool(raw),
            f"{sum(rest.values())} files that are not photos ({_counted(rest)})": bool(rest),
            f"{self.of_system} system files and folders (@eaDir, Thumbs.db, …)": self.of_system,
            f"{self.hidden} hidden files and folders": self.hidden,
            f"{len(self.broken_links)} links to missing files ({first_few(map(str, self.broken_links))})": (
                self.broken_links
            ),
        }
        return [f"skipped: {text}" for text, found in counted.items() if found]


def find_photos(folder: Path, *, without: Sequence[Path] = ()) -> FoundPhotos:
    """Find every photo below `folder`, with suffixes in upper or lower case. Follows links, but no loops.

    Folders in `without` are skipped. Raises one UserError naming every folder that cannot be read.
    """
    skipped = {path.resolve() for path in without}
    found = FoundPhotos()
    refused: list[str] = []
    for path in _walk(folder, skipped, found, refused):
        if path.suffix.lower() in PHOTO_SUFFIXES:
            found.photos.append(path)
        else:
            found.others[path.suffix.lower() or "without suffix"] += 1
    if refused:
        raise UserError(
            f"{len(refused)} folders cannot be read ({first_few(refused, 10)})",
            folder,
            remedy="change their permissions (chmod), or move them elsewhere",
        )
    found.photos.sort()
    return found


def _walk(folder: Path, skipped: set[Path], found: FoundPhotos, refused: list[str]) -> Iterator[Path]:
    """Yield files below `folder`. Counts skipped files in `found` and adds unreadable folders to `refused`."""
    pending, ancestors = [(folder, frozenset([folder.resolve()]))], skipped
    while pending:
        current, above = pending.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            refused.append(f"{current} ({error.strerror})")
            continue
        for entry in entries:
            path = current / entry.name
            if _is_left_out(entry, path, found):
                continue
            if not entry.is_dir():
                yield path
            elif (real := path.resolve()) not in above and real not in ancestors:
                pending.append((path, above | {real}))


def is_of_system(path: Path) -> bool:
    """Return whether any part of the path is a file or folder that systems put beside photos."""
    parts = [part.lower() for part in path.parts]
    return any(part in SYSTEM_NAMES or part.startswith(SYSTEM_PREFIXES) for part in parts)


def _is_left_out(entry: "os.DirEntry[str]", path: Path, found: FoundPhotos) -> bool:
    name = entry.name.lower()
    if is_of_system(Path(name)):
        found.of_system += 1
    elif name.startswith("."):
        found.hidden += 1
    elif entry.is_symlink() and not path.exists():
        found.broken_links.append(path)
    elif not entry.is_dir() and not entry.is_file():
        found.others["not a regular file"] += 1
    else:
        return False
    return True


def _counted(by_suffix: dict[str, int]) -> str:
    return first_few((f"{count} {suffix}" for suffix, count in sorted(by_suffix.items())), 6)
