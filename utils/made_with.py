"""What the files of a folder were made with, so that files of two kinds never stand side by side."""

import json
from pathlib import Path
from typing import Any

from utils.paths import atomic_path

RECORD = "settings.json"


def read_record(folder: Path) -> dict[str, Any] | None:
    """The settings that the folder's files were made with, None where nothing says so."""
    record = folder / RECORD
    return json.loads(record.read_text()) if record.is_file() else None


def start_folder(folder: Path, settings: dict[str, Any], *, suffix: str, may_replace: bool, remedy: str) -> int:
    """Records `settings` (plain values) for the folder's files NAME+suffix -> how many of other settings it removed.

    Raises FileExistsError, with the remedy, where there are files that nothing is known of, or that were made with
    other settings and may not be replaced.
    """
    settings = json.loads(json.dumps(settings))  # as it will be read back
    earlier, files = read_record(folder), list(folder.glob(f"*{suffix}"))
    if earlier == settings:
        return 0
    if files and earlier is None:
        raise FileExistsError(
            f"{folder} holds {len(files)} {suffix} files, but no {RECORD} that tells of them: {remedy}"
        )
    if files and not may_replace:
        changed = [f"{key}: {(earlier or {}).get(key)} then, {value} now" for key, value in settings.items()]
        changed = [line for line, key in zip(changed, settings) if (earlier or {}).get(key) != settings[key]]
        raise FileExistsError(f"{folder} holds files of other settings ({'; '.join(changed)}): {remedy}")
    for file in files:
        file.unlink()
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n")
    return len(files)


def is_current(made: Path, *sources: Path) -> bool:
    """Whether the file is there and not older than what it was made from."""
    return made.is_file() and all(made.stat().st_mtime >= source.stat().st_mtime for source in sources)
