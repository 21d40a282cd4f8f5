"""What a folder of results was made with: results of two settings never stand in one folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.paths import atomic_path


@dataclass(frozen=True)
class FolderSettings:
    """The JSON record of settings in a folder of results."""

    path: Path
    results: str  # glob, seen from the record's folder, of the files that were made
    what: str  # what they are called: labels
    maker: str  # the program that makes them
    option: str  # its option that names the folder

    def check(self, settings: dict[str, Any], *, may_replace: bool) -> bool:
        """Whether the folder holds results of other settings.

        Raises ValueError if so and they may not be replaced, and where it holds PNGs that are not results.
        """
        folder = self.path.parent
        if not any(folder.glob(self.results)):
            return False
        if not self.path.is_file():
            raise ValueError(
                f"{folder} holds PNGs, but no {self.path.name} that says how {self.maker} made them: "
                f"choose another {self.option}, or move them away"
            )
        made, now = json.loads(self.path.read_text()), _as_stored(settings)
        changes = [f"{key}: {made.get(key)} then, {value} now" for key, value in now.items() if made.get(key) != value]
        if changes and not may_replace:
            raise ValueError(
                f"{folder} holds {self.what} of other settings ({'; '.join(changes)}): "
                f"give --overwrite to make all of them again, or another {self.option}"
            )
        return bool(changes)

    def start(self, settings: dict[str, Any]) -> None:
        """Records the settings; results of others, which may be replaced, go first."""
        if self.path.is_file() and json.loads(self.path.read_text()) != _as_stored(settings):
            for result in self.path.parent.glob(self.results):
                result.unlink()
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n")


def _as_stored(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as JSON gives them back, e.g. with lists for tuples."""
    return json.loads(json.dumps(settings))
