"""Compares stored class names with the dataset's: masks and networks store indices, which a renamed tag may shift."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.text import first_few

SHOWN = 12


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
