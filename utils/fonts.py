"""Fonts that have the letters of a text: Pillow's own, matplotlib's DejaVu Sans, then those of the system."""

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SUFFIXES = (".ttf", ".otf", ".ttc")
NO_CHARACTER = "\uffff"  # no font has it: what is drawn for it stands for all that a font lacks
UNKNOWN = "?"
# where the systems keep their fonts: Linux, macOS, Windows
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
    """The first font that has every letter of the text; Pillow's own where none has them (see drawable)."""
    return next((found for found in _fonts(size) if _has_all(found, text)), _own(size))


def drawable(text: str) -> str:
    """The text, with ? for letters that no single font has together with the others."""
    if is_drawable(text):
        return text
    return "".join(letter if is_drawable(letter) else UNKNOWN for letter in text)


@cache
def is_drawable(text: str) -> bool:
    """Whether one of the fonts has every letter of the text."""
    return any(_has_all(found, text) for found in _fonts(12))


def class_labels(classes: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Class names as pictures can show them, and a note where a number stands for a name: 1 is the first class."""
    shown = tuple(name if is_drawable(name) else f"class {number}" for number, name in enumerate(classes, 1))
    count = sum(one != other for one, other in zip(shown, classes))
    note = (
        f"{count} class names are shown by their line in classes.txt: no font here has their letters "
        "(e.g. Noto Sans CJK has Chinese, Japanese and Korean)"
    )
    return shown, [note] if count else []


def _fonts(size: int) -> Iterator[Font]:
    """Pillow's own first, so that pictures look the same on every machine; the system is searched last."""
    yield _own(size)
    for files in (dejavu_files, system_files):
        yield from filter(None, (_opened(path, size) for path in files()))


@cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _opened(path: Path, size: int) -> Font | None:
    """None where it cannot be read, or has no outlines of this size, as fonts of emoji."""
    try:
        return ImageFont.truetype(str(path), size)
    except OSError:
        return None


@cache
def system_files() -> tuple[Path, ...]:
    """Fonts of the system, plain upright ones first."""
    found = [path for folder in FOLDERS for path in _below(os.path.expanduser(folder))]
    return tuple(sorted(found, key=lambda path: (*_style(path.stem.lower()), path.name, str(path))))


def _style(name: str) -> tuple[bool, bool, int]:
    marked = any(word in name for word in ("bold", "italic", "oblique", "light", "thin", "black", "mono"))
    return marked, "sans" not in name, len(name)


def _below(folder: str) -> Iterator[Path]:
    for root, _, names in os.walk(folder):  # what may not be listed is passed over
        yield from (Path(root, name) for name in names if name.lower().endswith(SUFFIXES))


@cache
def dejavu_files() -> tuple[Path, ...]:
    """DejaVu Sans inside matplotlib, without importing it: it has Latin, Greek, Cyrillic, Hebrew and Arabic."""
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
