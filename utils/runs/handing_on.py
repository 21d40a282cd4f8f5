"""Checks that a step's input was made from the current CAMs and classes, and that its output does not replace it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.data.class_names import check_classes
from utils.data.label_check import MADE_HERE
from utils.errors import UserError
from utils.files.atomic import read_json
from utils.files.manifest import LATER, RECORD


def record_of(folder: Path, name: str = RECORD) -> dict[str, Any]:
    """Read the settings that a folder's files were made with; {} if there is no record (files of other programs)."""
    path = folder / name
    if not path.is_file():
        return {}
    content = read_json(path, remedy="remove it and the results beside it")
    if not isinstance(content, dict):
        raise UserError(f"contains a {type(content).__name__}", path, "expected a JSON object", "remove it")
    return content


def made_of(folder: Path) -> str | None:
    """Return a text that identifies the weights and settings of the CAMs; None if there is no record of them."""
    record = {key: value for key, value in record_of(folder).items() if key not in LATER}
    if not record:
        return None
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=8).hexdigest()


def check_made_of(noted: str | None, folder: Path, where: Path, remedy: str) -> None:
    """Raise UserError if the file `where` was computed from other CAMs than those now in `folder`.

    noted: the result of made_of at that time; None, from an older version, is accepted.
    """
    if noted is not None and noted != made_of(folder):
        raise UserError("was computed from other CAMs than the current ones", where, str(folder), remedy)


def check_stored_classes(folder: Path, classes: Sequence[str]) -> None:
    """Raise UserError if the CAMs or labels in `folder` were made with other class names."""
    remedy = "restore classes.txt, or train again and create the CAMs and labels again (test_l2g.py, gen_gt.py)"
    for record in (RECORD, MADE_HERE):
        check_classes(record_of(folder, record).get("classes"), classes, folder, remedy)


def check_apart(out: Path, option: str, **sources: Path | None) -> None:
    """Raise UserError if results would replace what they are made from. sources: option without dashes -> folder."""
    for name, source in sources.items():
        if source is not None and source.resolve() == out.resolve():
            rule = f"it is also --{name}, whose files would be replaced"
            raise UserError(str(out), option, rule, f"give another {option}")
