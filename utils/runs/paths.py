"""Paths of a run's artefacts."""

from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError
from utils.files import locate
from utils.files.manifest import RECORD


@dataclass(frozen=True)
class RunPaths:
    """The folder of one experiment: runs/EXP."""

    root: Path
    preset: Path | None = None

    @classmethod
    def of(cls, runs_dir: str | Path | None, experiment_name: str, *, preset: str | None = None) -> "RunPaths":
        """Return the paths of an experiment. runs_dir: None is the project's runs/; relative to the current folder.

        preset: a file of options that replaces the run's config.yaml if that is missing.
        """
        if not experiment_name or "/" in experiment_name or experiment_name in (".", ".."):
            raise UserError(
                repr(experiment_name), "--experiment_name", "expected the name of a folder in runs/, without '/'"
            )
        file = locate.existing_path(preset, "--preset") if preset else None
        return cls(locate.run_dir(runs_dir, experiment_name), file)

    @property
    def config(self) -> Path:
        """The options that the run was trained with, or the preset that replaces them."""
        own = self.root / "config.yaml"
        return self.preset if self.preset and not own.is_file() else own

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def versions(self) -> Path:
        return self.root / "versions.json"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def model_dir(self) -> Path:
        return self.root / "model"

    @property
    def cam_dir(self) -> Path:
        return self.root / "cam"

    @property
    def cam_record(self) -> Path:
        """The settings that the CAMs were computed with."""
        return self.cam_dir / RECORD

    @property
    def attention_dir(self) -> Path:
        return self.root / "ms" / "attention"

    @property
    def heatmap_dir(self) -> Path:
        return self.root / "ms" / "accu_att_zoom"

    @property
    def irn_dir(self) -> Path:
        return self.root / "cam_npy_irn"

    @property
    def affinity_dir(self) -> Path:
        return self.root / "cam_npy_aff"

    @property
    def psa_dir(self) -> Path:
        return self.root / "cam_npy"

    @property
    def cam_scores(self) -> Path:
        return self.root / "cam_scores.json"

    @property
    def cam_agreement(self) -> Path:
        """Agreement of the CAMs with saliency, for datasets without masks."""
        return self.root / "cam_agreement.json"

    @property
    def label_scores(self) -> Path:
        return self.root / "label_scores.json"

    @property
    def report_dir(self) -> Path:
        return self.root / "report"


def pseudo_label_dir(dataset_name: str, experiment_name: str) -> Path:
    """Return data/NAME/pseudo_seg_labels_EXP in the project, also for a dataset stored elsewhere."""
    return locate.PROJECT_ROOT / "data" / dataset_name / f"pseudo_seg_labels_{experiment_name}"


def foreground_bank_dir(experiment_name: str) -> Path:
    """Return sem_seg_fg/EXP in the project: the foregrounds cut out with an experiment's pseudo labels."""
    return locate.PROJECT_ROOT / "sem_seg_fg" / experiment_name
