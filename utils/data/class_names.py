"""Compares class names: with stored ones, whose order masks and networks rely on, and spellings of one name."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.text import first_few

SHOWN = 12
# remedy for a network's checkpoint
OTHER_DATASET = "give the --dataset of its training, or restore classes.txt"


def spelling_key(name: str) -> str:
    """Return what names have in common that differ only in case, spaces or invisible characters."""
    folded = unicodedata.normalize("NFC", name.casefold())
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def check_classes(known: Any, classes: Sequence[str], where: str | Path, remedy: str) -> None:
    """Raise UserError with both lists if `known`, the classes stored in `where`, differ from the dataset's `classes`.

    Values that are not a list of names are accepted: files of older versions and other programs do not store names.
    """
    if not isinstance(known, (list, tuple)) or list(known) == list(classes):
        return
    pairs = enumerate(zip(known, classes))
    first = next((f"class {number} was {one!r}, is {other!r}" for number, (one, other) in pairs if one != other), "")
    counts = "" if len(known) == len(classes) else f"{len(known)} classes before, {len(classes)} now"
    differs = "; ".join(filter(None, (first, counts)))
    raise UserError(
        f"was made with the classes {first_few(map(str, known), SHOWN)}",
        where,
        f"the dataset has {first_few(classes, SHOWN)} ({differs})",
        remedy,
    )
