"""Where the segmentation trainer's results are: models, features and scores of an experiment."""

from dataclasses import dataclass
from pathlib import Path

from utils.files.locate import DEEPLAB_ROOT
from utils.runs.paths import RunPaths

FINAL = "checkpoint_final.pth"


@dataclass(frozen=True)
class TrainingPaths(RunPaths):
    """The folder of one training: log, records and checkpoints beside each other."""

    @property
    def model_dir(self) -> Path:
        return self.root

    @property
    def final(self) -> Path:
        """The checkpoint after the last step."""
        return self.root / FINAL


@dataclass(frozen=True)
class Places:
    """The folders of an experiment, or of one of its trainings: OUTPUT_DIR/{models,features,scores}/ID[/RUN]."""

    output_dir: Path
    experiment: Path

    @classmethod
    def of(cls, output_dir: str, experiment_id: str, run: str | None) -> "Places":
        """A relative output_dir lies in deeplabv2/."""
        return cls(DEEPLAB_ROOT / Path(output_dir).expanduser(), Path(experiment_id, *([run] if run else [])))

    @property
    def training(self) -> TrainingPaths:
        return TrainingPaths(self.output_dir / "models" / self.experiment)

    def logits_dir(self, split: str) -> Path:
        """One file an image: NAME.npz."""
        return self.output_dir / "features" / self.experiment / Path(split).stem / "logits"

    def crf_dir(self, split: str) -> Path:
        """One label an image, after the CRF: NAME.png."""
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
