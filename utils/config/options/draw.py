"""The options of res.py."""

from dataclasses import dataclass

from utils.config.options.groups import PresetOptions, RunOptions, WorkerOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import Count, CountOrNone
from utils.errors import UserError


@dataclass(frozen=True)
class DrawDataOptions:
    """Data."""

    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    image_dir: str | None = None
    """Folder of photographs; default JPEGImages in the dataset."""
    sal_dir: str | None = None
    """Folder of saliency maps; default Sal in the dataset."""
    label_dir: str | None = None
    """Folder of pseudo labels; default data/NAME/pseudo_seg_labels_EXP in the project."""
    mask_dir: str | None = None
    """Folder of ground-truth masks, if available; default SegmentationClass in the dataset."""


@dataclass(frozen=True)
class DrawOutputOptions:
    """Output."""

    report: bool = False
    """Also write runs/EXP/report/index.html: scores, curves, options and a gallery, in one self-contained page."""
    compare: tuple[str, ...] = ()
    """Runs to compare with in the report: their options, curves and scores."""
    prediction_dir: str | None = None
    """Folder of the segmentation network's labels, for the report; default the folder that deeplabv2 wrote for EXP."""
    report_images: CountOrNone = 2000
    """Number of images in the report's gallery, those with masks or predictions first; 0 is all."""
    max_images: CountOrNone = 0
    """Number of images to draw heat maps and overlays for; 0 is all that have CAMs."""


@dataclass(frozen=True)
class DrawOptions(RunOptions, DrawDataOptions, DrawOutputOptions, WorkerOptions, PresetOptions):
    """Visualise a run: CAM heat maps, overlays on the photo, a contact sheet, and on request an HTML report."""

    PUBLISHED = FLAGS_OF["res.py"]

    def __post_init__(self) -> None:
        if not self.report and (self.compare or self.prediction_dir):
            raise UserError("--compare and --prediction_dir are for the report", remedy="add --report")
        twice = sorted({n for n in self.compare if (self.experiment_name, *self.compare).count(n) > 1})
        if twice:
            raise UserError(f"{', '.join(twice)} would be shown twice", f"--compare={','.join(self.compare)}")


@dataclass(frozen=True)
class StripOutputOptions:
    """Output."""

    out: str = "strip.jpg"
    """The picture to write."""
    names: tuple[str, ...] = ()
    """Images to show; default one per class, the one whose pseudo label scores nearest to the class's median."""
    label_title: str = "pseudo label"
    """Title of the labels in --label_dir."""
    width: Count = 1660
    """Width of the picture, pixels."""


@dataclass(frozen=True)
class StripOptions(RunOptions, DrawDataOptions, StripOutputOptions, PresetOptions):
    """Draw a strip of a run: photo, CAM, label and mask of a few images, one image per column."""
