"""Groups of options that several programs share."""

from dataclasses import dataclass
from pathlib import Path

from utils.config.valid import Processes
from utils.files.locate import run_dir


@dataclass(frozen=True)
class RunOptions:
    """Run."""

    experiment_name: str = "l2g"
    """The run: its folder in runs/."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""

    @property
    def versions_file(self) -> Path:
        """What the run was made with, for a report of a bug."""
        return run_dir(self.runs_dir, self.experiment_name) / "versions.json"


@dataclass(frozen=True)
class PresetOptions:
    """A run without options."""

    preset: str | None = None
    """A file of train_l2g.py's options, e.g. configs/voc12.yaml, that stands for the run's config.yaml where there is
    none (published weights); --config=FILE with such a file means it too."""


@dataclass(frozen=True)
class WorkerOptions:
    """Machine."""

    num_workers: Processes = 0
    """Processes; 0 is one per core."""
