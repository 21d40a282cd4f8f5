"""Checks that a step's input was made from the current CAMs and classes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.data.class_names import check_classes
from utils.errors import UserError
from utils.files.atomic import read_json
from utils.files.manifest import LATER, RECORD


def record_of(folder: Path) -> dict[str, Any]:
    """Read the settings that a folder's files were made with; {} if there is no record (files of other programs)."""
    path = folder / RECORD
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


def check_cam_classes(folder: Path, classes: Sequence[str]) -> None:
    """Raise UserError if the CAMs in `folder` were made with other class names."""
    remedy = "restore classes.txt, or train and run test_l2g.py again"
    check_classes(record_of(folder).get("classes"), classes, folder, remedy)
