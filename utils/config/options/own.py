"""The options of the programs that only train_test_L2G_own.sh uses."""

from dataclasses import dataclass
from typing import Literal

from utils.config.options.groups import RunOptions, WorkerOptions
from utils.config.valid import NotNegative, SampleSize, Seed


@dataclass(frozen=True)
class JudgeOptions(RunOptions, WorkerOptions):
    """Judge a run's CAMs without masks: CAMs that cover everything, saliency that does not match the tags."""

    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    sal_dir: str | None = None
    """Folder of saliency maps; default the run's, else Sal in the dataset."""


@dataclass(frozen=True)
class JudgeLabelsOptions(RunOptions, WorkerOptions):
    """Judge a run's labels without masks, with tags, saliency, an earlier round, and the segmentation network."""

    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    label_dir: str | None = None
    """Folder of the labels to judge; default data/NAME/pseudo_seg_labels_EXP in the project."""
    first_dir: str | None = None
    """Folder of the first round's labels, if label_dir contains those of a second one."""
    prediction_dir: str | None = None
    """Folder of the network's masks, OUT/labels of deeplabv2/main.py predict, where own photos keep their own names."""
    sal_dir: str | None = None
    """Folder of saliency maps; default the run's, else Sal in the dataset."""


@dataclass(frozen=True)
class AnnotateOptions(RunOptions):
    """Choose photos to draw masks for: a weighted random sample with more of the doubtful photos."""

    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    number: SampleSize = 12
    """Number of photos."""
    seed: Seed = 0
    """Seed of the random choice."""
    overwrite: bool = False
    """Replace an earlier choice."""


@dataclass(frozen=True)
class PlanOptions:
    """Print the remaining steps from photos to masks, with their expected durations."""

    dataset: str
    """The dataset's folder."""
    record: str
    """File in which the durations of finished steps are recorded."""
    steps: tuple[str, ...] = ()
    """The remaining steps, in order."""
    done: str | None = None
    """The step that has just finished; its duration is recorded."""
    seconds: NotNegative = 0.0
    """Duration of that step in seconds."""
    preset: Literal["fast", "balanced", "best", "large"] = "balanced"
    """The preset that QUALITY selects on this machine; it determines the work of the steps."""
    epochs: NotNegative = 0
    """Epochs of the classifier."""
    segmentation_epochs: NotNegative = 0
    """Epochs of the segmentation network."""
    photos: NotNegative = 0
    """Number of photos to label; 0 is all of the dataset."""
