"""Class names travel with what was made of them: masks and networks count classes, and a renamed tag moves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.text import first_few

SHOWN = 12


def check_classes(known: Any, classes: Sequence[str], where: str | Path, remedy: str) -> None:
    """Raises UserError with both lists where `known`, which `where` was made with, are not the dataset's `classes`.

    None, and what is no list of names, says nothing: files of older versions and of other programs.
    """
    if not isinstance(known, (list, tuple)) or list(known) == list(classes):
        return
    pairs = enumerate(zip(known, classes))
    first = next((f"class {number} was {one!r}, is {other!r}" for number, (one, other) in pairs if one != other), "")
    counts = "" if len(known) == len(classes) else f"{len(known)} classes then, {len(classes)} now"
    differs = "; ".join(filter(None, (first, counts)))
    raise UserError(
        f"was made with the classes {first_few(map(str, known), SHOWN)}",
        where,
        f"the dataset has {first_few(classes, SHOWN)} ({differs})",
        remedy,
    )
