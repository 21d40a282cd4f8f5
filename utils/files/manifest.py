"""What a folder of results was made with: results of two settings never stand in one folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.atomic import read_json, write_json
from utils.files.disk import remove_file

RECORD = "settings.json"
LATER = ("classes",)  # settings that records of older versions do not have


@dataclass(frozen=True)
class FolderSettings:
    """The JSON record of settings in a folder of results."""

    path: Path
    results: str  # glob, seen from the record's folder, of the files that were made
    what: str  # what they are called: labels
    maker: str  # the program that makes them
    option: str  # its option that names the folder

    def read(self) -> dict[str, Any] | None:
        """The settings that the results were made with, None where nothing says so."""
        if not self.path.is_file():
            return None
        remedy = "remove it with the results beside it"
        content = read_json(self.path, remedy=remedy)
        if not isinstance(content, dict):
            raise UserError(f"holds a {type(content).__name__}", self.path, "expected settings by name", remedy)
        return content

    def check(self, settings: dict[str, Any], *, may_replace: bool) -> bool:
        """Whether the folder holds results of other settings.

        Raises UserError if so and they may not be replaced, and where it holds results of unknown settings.
        """
        folder = self.path.parent
        if not any(folder.glob(self.results)):
            return False
        made, now = self.read(), _as_stored(settings)
        if made is None:
            raise UserError(
                f"holds {self.what}, but no {self.path.name} that records how {self.maker} made them",
                folder,
                remedy=f"give another {self.option}, or move them away",
            )
        known = {key: made.get(key) for key in now if key in made or key not in LATER}
        changes = [f"{key}: {made} then, {now[key]} now" for key, made in known.items() if made != now[key]]
        if changes and not may_replace:
            raise UserError(
                f"holds {self.what} of other settings ({'; '.join(changes)})",
                folder,
                remedy=f"give --overwrite to make all of them again, or another {self.option}",
            )
        return bool(changes)

    def start(self, settings: dict[str, Any]) -> int:
        """Records the settings -> how many results of others, which may be replaced, it removed."""
        removed = 0
        made, now = self.read(), _as_stored(settings)
        if made is not None and made != {key: value for key, value in now.items() if key in made or key not in LATER}:
            for result in self.path.parent.glob(self.results):
                remove_file(result)
                removed += 1
        write_json(self.path, settings)
        return removed


def _as_stored(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as JSON gives them back, e.g. with lists for tuples."""
    return json.loads(json.dumps(settings))
