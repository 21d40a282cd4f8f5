"""What one step hands to the next: of which CAMs and classes it is, compared wherever it is used."""

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
    """What the files of a folder were made with; empty where nothing says so: files of other programs."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    content = read_json(path, remedy="remove it with the results beside it")
    if not isinstance(content, dict):
        raise UserError(f"holds a {type(content).__name__}", path, "expected settings by name", "remove it")
    return content


def made_of(folder: Path) -> str | None:
    """A text that CAMs of other weights or settings do not have; None where nothing says how they were made."""
    record = {key: value for key, value in record_of(folder).items() if key not in LATER}
    if not record:
        return None
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=8).hexdigest()


def check_made_of(noted: str | None, folder: Path, where: Path, remedy: str) -> None:
    """Raises UserError where what `where` holds was found with other CAMs than those in `folder` now.

    noted: what made_of gave then; None, of an older version, says nothing.
    """
    if noted is not None and noted != made_of(folder):
        raise UserError("is of other CAMs than those that are there now", where, str(folder), remedy)


def check_cam_classes(folder: Path, classes: Sequence[str]) -> None:
    """Raises UserError where the CAMs in `folder` were made with other class names."""
    remedy = "restore classes.txt, or train and run test_l2g.py again"
    check_classes(record_of(folder).get("classes"), classes, folder, remedy)
