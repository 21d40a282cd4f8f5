"""All options of the segmentation trainer, with the keys of the published DeepLab v2 files (PyTorch port)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from deeplabv2.setting_groups import (
    DatasetSettings,
    ExperimentSettings,
    ImageSettings,
    LoaderSettings,
    ModelSettings,
    ViewSettings,
)
from deeplabv2.solver_settings import CrfSettings, SolverSettings
from utils.config.parser import parse_options
from utils.config.published_flags import FLAGS_OF
from utils.data.catalog import IGNORE_INDEX
from utils.errors import UserError
from utils.files.locate import DEEPLAB_ROOT, existing_path
from utils.runs.segmentation import SegmentationPaths


@dataclass(frozen=True)
class Settings:
    """Train DeepLab v2 on pseudo labels, test it, and refine its labels with a CRF."""

    EXP: ExperimentSettings = field(default_factory=ExperimentSettings)
    """The experiment."""
    DATASET: DatasetSettings = field(default_factory=DatasetSettings)
    """Images and labels."""
    DATALOADER: LoaderSettings = field(default_factory=LoaderSettings)
    """Reading of images."""
    IMAGE: ImageSettings = field(default_factory=ImageSettings)
    """Input of the network."""
    MODEL: ModelSettings = field(default_factory=ModelSettings)
    """The network."""
    SOLVER: SolverSettings = field(default_factory=SolverSettings)
    """The schedule."""
    TEST: ViewSettings = field(default_factory=ViewSettings)
    """Test-time augmentation."""
    CRF: CrfSettings = field(default_factory=CrfSettings)
    """The dense CRF."""

    PUBLISHED = FLAGS_OF["deeplabv2/main.py train"]

    def __post_init__(self) -> None:
        _check_name("EXP.ID", self.EXP.ID)
        _check_name("EXP.RUN", self.EXP.RUN)
        if self.DATASET.IGNORE_LABEL != IGNORE_INDEX:
            raise UserError(
                f"DATASET.IGNORE_LABEL={self.DATASET.IGNORE_LABEL}",
                rule=f"expected {IGNORE_INDEX}, as in every label file here",
                remedy="rewrite the labels",
            )
        if self.SOLVER.COMPILE and self.SOLVER.CHECKPOINT_ACTIVATIONS:
            raise UserError("--SOLVER.COMPILE and --SOLVER.CHECKPOINT_ACTIVATIONS", rule="choose one of them")
        mean = self.IMAGE.MEAN
        if len({value is None for value in (mean.R, mean.G, mean.B)}) > 1:
            raise UserError(f"IMAGE.MEAN.R={mean.R} G={mean.G} B={mean.B}", rule="give all three or none")

    @property
    def versions_file(self) -> Path:
        """The training's versions.json, for bug reports."""
        return SegmentationPaths.of(self.EXP.OUTPUT_DIR, self.EXP.ID, self.EXP.RUN).training.versions


SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_settings(argv: Sequence[str] | None = None, *, settings_class: type[SettingsT] = Settings) -> SettingsT:  # type: ignore[assignment]
    """Parse defaults < `--config-path file.yaml` < `--SOLVER.LR=…`. Exits with status 2 and a message on errors.

    settings_class: a subclass of Settings with a program's own flags.
    """
    return parse_options(settings_class, argv, search_dirs=(DEEPLAB_ROOT,))


def find_path(path: str | Path, what: str) -> Path:
    """Resolve an input path: absolute, or relative to the current folder, deeplabv2/ or the project's folder."""
    return existing_path(path, what, search_dirs=(DEEPLAB_ROOT,))


def _check_name(key: str, name: str | None) -> None:
    """Raise UserError if a name is a path."""
    if name is not None and (not name or "/" in name or name in (".", "..")):
        raise UserError(f"{key}={name!r} is a path", rule="use a name without '/'")
