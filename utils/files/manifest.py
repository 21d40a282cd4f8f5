"""Records the settings that a folder of results was made with, so that results of two settings are never mixed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.atomic import read_json, write_json
from utils.files.disk import remove_file

RECORD = "settings.json"
LATER = ("classes", "annotations", "model")  # settings that records of older versions do not contain


@dataclass(frozen=True)
class FolderSettings:
    """The JSON file with the settings in a folder of results."""

    path: Path
    results: str  # glob of the result files, relative to the record's folder
    what: str  # what messages call them: labels
    maker: str  # the program that writes them
    option: str  # the option that names the folder

    def read(self) -> dict[str, Any] | None:
        """Return the settings of the existing results, or None if there is no record."""
        if not self.path.is_file():
            return None
        remedy = "remove it and the results beside it"
        content = read_json(self.path, remedy=remedy)
        if not isinstance(content, dict):
            raise UserError(f"contains a {type(content).__name__}", self.path, "expected a JSON object", remedy)
        return content

    def check(self, settings: dict[str, Any], *, may_replace: bool) -> bool:
        """Return whether the folder contains results of other settings.

        Raises UserError if these may not be replaced, or if the settings of existing results are unknown.
        """
        folder = self.path.parent
        if not any(folder.glob(self.results)):
            return False
        made, now = self.read(), _as_stored(settings)
        if made is None:
            raise UserError(
                f"contains {self.what} but no {self.path.name}, which records the settings that {self.maker} used",
                folder,
                remedy=f"give another {self.option}, or move them away",
            )
        known = {key: made.get(key) for key in now if key in made or key not in LATER}
        changes = [f"{key}: was {made}, is {now[key]}" for key, made in known.items() if made != now[key]]
        if changes and not may_replace:
            raise UserError(
                f"contains {self.what} of other settings ({'; '.join(changes)})",
                folder,
                remedy=f"give --overwrite to recreate all of them, or another {self.option}",
            )
        return bool(changes)

    def start(self, settings: dict[str, Any]) -> int:
        """Record the settings and remove results of other settings. Returns the number of removed files."""
        removed = 0
        made, now = self.read(), _as_stored(settings)
        if made is not None and made != {key: value for key, value in now.items() if key in made or key not in LATER}:
            for result in self.path.parent.glob(self.results):
                remove_file(result)
                removed += 1
        write_json(self.path, settings)
        return removed


def _as_stored(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings as read back from JSON, for example with lists instead of tuples."""
    return json.loads(json.dumps(settings))
