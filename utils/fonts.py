"""Finds a font that has the letters of a text: Pillow's own, matplotlib's DejaVu Sans, then the system's fonts."""

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SUFFIXES = (".ttf", ".otf", ".ttc")
NO_CHARACTER = "\uffff"  # in no font: its glyph is the one for missing characters
UNKNOWN = "?"
# folders of the systems' fonts: Linux, macOS, Windows
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    r"C:\Windows\Fonts",
)


def font_for(text: str, size: int) -> Font:
    """Return the first font that has every letter of the text, or Pillow's own if none has (see drawable)."""
    return next((found for found in _fonts(size) if _has_all(found, text)), _own(size))


def drawable(text: str) -> str:
    """Replace letters that no single font has together with the others by ?."""
    if is_drawable(text):
        return text
    return "".join(letter if is_drawable(letter) else UNKNOWN for letter in text)


@cache
def is_drawable(text: str) -> bool:
    """Return whether one of the fonts has every letter of the text."""
    return any(_has_all(found, text) for found in _fonts(12))


def class_labels(classes: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Replace class names that no font can draw by numbers (1 is the first class). Also returns a note if any."""
    shown = tuple(name if is_drawable(name) else f"class {number}" for number, name in enumerate(classes, 1))
    count = sum(one != other for one, other in zip(shown, classes))
    note = (
        f"{count} class names are shown as their line number in classes.txt: no font here has their letters "
        "(e.g. Noto Sans CJK has Chinese, Japanese and Korean)"
    )
    return shown, [note] if count else []


def _fonts(size: int) -> Iterator[Font]:
    """Yield Pillow's own font first, so that pictures look the same on every machine, and the system's fonts last."""
    yield _own(size)
    for files in (dejavu_files, system_files):
        yield from filter(None, (_opened(path, size) for path in files()))


@cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _opened(path: Path, size: int) -> Font | None:
    """Open a font; None if it cannot be read, or has no outlines of this size, like emoji fonts."""
    try:
        return ImageFont.truetype(str(path), size)
    except OSError:
        return None


@cache
def system_files() -> tuple[Path, ...]:
    """Return the system's fonts, plain upright ones first."""
    found = [path for folder in FOLDERS for path in _below(os.path.expanduser(folder))]
    return tuple(sorted(found, key=lambda path: (*_style(path.stem.lower()), path.name, str(path))))


def _style(name: str) -> tuple[bool, bool, int]:
    marked = any(word in name for word in ("bold", "italic", "oblique", "light", "thin", "black", "mono"))
    return marked, "sans" not in name, len(name)


def _below(folder: str) -> Iterator[Path]:
    for root, _, names in os.walk(folder):  # unreadable folders are skipped
        yield from (Path(root, name) for name in names if name.lower().endswith(SUFFIXES))


@cache
def dejavu_files() -> tuple[Path, ...]:
    """Find matplotlib's DejaVu Sans without importing it. It has Latin, Greek, Cyrillic, Hebrew and Arabic letters."""
    spec = (
        importlib.util.find_spec("matplotlib")
        if "matplotlib" not in sys.modules
        else sys.modules["matplotlib"].__spec__
    )
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf") for folder in folders]
    return tuple(path for path in files if path.is_file())


def _has_all(found: Font, text: str) -> bool:
    return all(_has(found, letter) for letter in set(text) if not letter.isspace())


@cache
def _has(found: Font, letter: str) -> bool:
    def drawn(sign: str) -> tuple[tuple[int, int], bytes]:
        mask = found.getmask(sign)
        return mask.size, bytes(mask)

    return drawn(letter) != drawn(NO_CHARACTER)
