"""Option groups shared by several programs."""

from dataclasses import dataclass
from pathlib import Path

from utils.config.valid import Processes
from utils.files.locate import run_dir


@dataclass(frozen=True)
class RunOptions:
    """Run."""

    experiment_name: str = "l2g"
    """Name of the run and of its folder in runs/."""
    runs_dir: str | None = None
    """Folder of runs; default runs/ in the project."""

    @property
    def versions_file(self) -> Path:
        """The run's versions.json, for bug reports."""
        return run_dir(self.runs_dir, self.experiment_name) / "versions.json"


@dataclass(frozen=True)
class PresetOptions:
    """A run without config.yaml."""

    preset: str | None = None
    """Options of train_l2g.py, e.g. configs/voc12.yaml, for a run without config.yaml (published weights);
    --config=FILE with such a file does the same."""


@dataclass(frozen=True)
class WorkerOptions:
    """Machine."""

    num_workers: Processes = 0
    """Processes; 0 is one per core."""
