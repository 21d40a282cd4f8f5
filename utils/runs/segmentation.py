"""Paths of the segmentation network's artefacts: models, features and scores of an experiment."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.errors import UserError
from utils.files import locate
from utils.files.atomic import write_lines
from utils.files.disk import disk_errors, list_folder, remove_file
from utils.files.text import read_text
from utils.runs.paths import RunPaths

Kind = Literal["models", "features", "scores"]
FINAL = "checkpoint_final.pth"
# default of EXP.OUTPUT_DIR, relative to deeplabv2/
OUTPUT_DIR = "data"
# folder in OUTPUT_DIR whose files EXP.txt list the other output folders of an experiment
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class SegmentationTraining(RunPaths):
    """The folder of one training: log, records and checkpoints side by side."""

    @property
    def model_dir(self) -> Path:
        return self.root

    @property
    def final(self) -> Path:
        """The checkpoint after the last step."""
        return self.root / FINAL


@dataclass(frozen=True)
class SegmentationPaths:
    """The folders of an experiment, or of one of its trainings: OUTPUT_DIR/{models,features,scores}/ID[/RUN]."""

    output_dir: Path
    experiment: Path

    @classmethod
    def of(cls, output_dir: str, experiment_id: str, run: str | None) -> "SegmentationPaths":
        """Return the paths of an experiment. A relative output_dir is in deeplabv2/."""
        return cls(_root() / Path(output_dir).expanduser(), Path(experiment_id, *([run] if run else [])))

    def remember(self) -> None:
        """Record an output_dir other than the default, so that the report finds its results."""
        usual, experiment = _root() / OUTPUT_DIR, self.experiment.parts[0]
        known = [usual, *(folder for folder in _other_outputs(experiment) if folder.is_dir())]
        if any(self.output_dir.resolve() == folder.resolve() for folder in known):
            return
        note = _note(experiment)
        try:
            write_lines(note, map(str, [*known[1:], self.output_dir.resolve()]))
        except UserError as error:  # the results are more important than this record
            print(f"{error}: the report will need --prediction_dir", file=sys.stderr)

    @property
    def training(self) -> SegmentationTraining:
        return SegmentationTraining(self.output_dir / "models" / self.experiment)

    def logits_dir(self, split: str) -> Path:
        """One file per image: NAME.npz."""
        return self.output_dir / "features" / self.experiment / Path(split).stem / "logits"

    def crf_dir(self, split: str) -> Path:
        """One label per image after the CRF: NAME.png."""
        return self.output_dir / "features" / self.experiment / Path(split).stem / "crf"

    @property
    def score_dir(self) -> Path:
        return self.output_dir / "scores" / self.experiment

    @property
    def scores(self) -> Path:
        return self.score_dir / "scores.json"

    @property
    def crf_scores(self) -> Path:
        return self.score_dir / "scores_crf.json"

    @property
    def archive(self) -> Path:
        return self.score_dir / "results.tar.gz"


def result_dirs(kind: Kind, experiment: str) -> list[Path]:
    """Return the existing folders OUTPUT_DIR/KIND/EXP, default first. Each may contain a folder per training."""
    outputs = [_root() / OUTPUT_DIR, *_other_outputs(experiment)]
    return [folder for output in outputs if (folder := output / kind / experiment).is_dir()]


@contextmanager
def notes_kept() -> Iterator[None]:
    """Afterwards the notes of other folders are what they were before: for outputs that are removed again."""
    folder = _note("").parent
    had_folders = [place for place in (folder, folder.parent) if place.is_dir()]
    before = _notes_in(folder)
    try:
        yield
    finally:
        for path, text in _notes_in(folder).items():
            if path not in before:
                remove_file(path)
            elif before[path] != text:
                write_lines(path, before[path].splitlines())
        for place in (folder, folder.parent):
            if place not in had_folders and place.is_dir() and not list_folder(place):
                with disk_errors(place, "removed"):
                    place.rmdir()


def _notes_in(folder: Path) -> dict[Path, str]:
    return {path: read_text(path) for path in list_folder(folder)} if folder.is_dir() else {}


def _root() -> Path:
    return locate.PROJECT_ROOT / "deeplabv2"


def _note(experiment: str) -> Path:
    return _root() / OUTPUT_DIR / ELSEWHERE / f"{experiment}.txt"


def _other_outputs(experiment: str) -> Iterator[Path]:
    """Yield the output folders recorded by `remember`."""
    note = _note(experiment)
    yield from map(Path, read_text(note).splitlines() if note.is_file() else [])
