"""The options of evaluate.py and scripts/show_scores.py."""

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.options.groups import PresetOptions, RunOptions, WorkerOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import Fraction, Items


@dataclass(frozen=True)
class ScoreDataOptions:
    """Data."""

    mode: Literal["cam", "attention", "npy", "rw", "png"] = "cam"
    """cam: NAME.npz of test_l2g.py, or the format found in pred_dir; attention: NAME_TAG.png; npy: CAM dictionaries of
    IRN, PuzzleCAM or PSA; rw: PuzzleCAM's after its random walk; png: label PNGs."""
    pred_dir: str | None = None
    """Folder to score; default the run's: cam, ms/attention, the first non-empty one of cam_npy_irn, cam_npy_aff and
    cam_npy (npy, rw), or its pseudo labels (png)."""
    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    mask_dir: str | None = None
    """Folder of ground-truth masks; default SegmentationClass in the dataset."""
    mask_list: str | None = None
    """List of images to score; default train.txt in the dataset."""
    sal_dir: str | None = None
    """Folder of saliency maps; default the run's, else Sal in the dataset."""


@dataclass(frozen=True)
class ScoreMethodOptions:
    """Method."""

    reference: Literal["masks", "saliency"] | None = None
    """What CAMs are scored against; default masks if the dataset has a list of them (or --mask_list is given), else
    saliency: the threshold at which the union of the CAMs agrees best with it."""
    saliency_weight: Fraction = 0.0
    """Weight of the saliency in the foreground score, as in gen_gt.py --saliency_weight; 0 uses only the CAMs."""
    saliency_support: Fraction = 0.0
    """Mean saliency of a tag's surest pixels at which it uses the whole weight, as in gen_gt.py --saliency_support."""
    thresholds: Annotated[tuple[Fraction, ...], Items(1, 1000)] = tuple(round(0.05 * step, 2) for step in range(1, 16))
    """Background thresholds."""


@dataclass(frozen=True)
class ScoreOptions(RunOptions, ScoreDataOptions, ScoreMethodOptions, WorkerOptions, PresetOptions):
    """Score CAMs or labels against masks: all thresholds in one pass over the images."""

    PUBLISHED = FLAGS_OF["evaluate.py"]


@dataclass(frozen=True)
class ShowOptions:
    """Print the scores of runs side by side."""

    experiments: tuple[str, ...] = ("l2g_voc",)
    """Names of the runs."""
    runs_dir: str | None = None
    """Folder of runs; default runs/ in the project."""
    segmentation_dir: str | None = None
    """Folder of the segmentation network's scores, EXP/scores.json; default deeplabv2/data/scores."""
    classes: tuple[str, ...] = ()
    """Classes for which the mean IoU of the CAMs is also shown."""
    titles: tuple[str, ...] = ()
    """Titles of the rows, one per experiment; default their names."""
    expected: str | None = None
    """A YAML file of expected ranges, printed below the scores: experiment title, column, [low, high]."""
