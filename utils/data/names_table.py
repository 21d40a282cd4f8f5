"""names.csv of a dataset of own photos: the source file of each image."""

import csv
from pathlib import Path

from utils.errors import UserError
from utils.files.disk import disk_errors

SOURCES_FILE = "names.csv"


def source_files(root: Path) -> dict[str, str]:
    """Map each image's name to its photo's path in the folder of photos, with `/`; {} without names.csv.

    Raises UserError if a column is missing.
    """
    path = root / SOURCES_FILE
    if not path.is_file():
        return {}
    remedy = "run scripts/prepare_own.py again"
    try:
        with disk_errors(path), path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
    except csv.Error as error:
        raise UserError(f"is not a table ({error})", path, remedy=remedy) from error
    if rows and not {"name", "file"} <= set(rows[0]):
        raise UserError("has no columns name and file", path, remedy=remedy)
    if any(not row["name"] or not row["file"] for row in rows):
        raise UserError("has rows without name or file", path, remedy=remedy)
    return {row["name"]: row["file"] for row in rows}
