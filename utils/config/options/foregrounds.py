"""The options of scripts/build_foregrounds.py and scripts/draw_pastes.py."""

from dataclasses import dataclass
from typing import Literal

from utils.config.options.groups import PresetOptions, RunOptions, WorkerOptions
from utils.config.options.method import CopyPasteOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import Count, CountOrNone, Degrees, Fraction, NotNegative, Seed
from utils.errors import UserError


@dataclass(frozen=True)
class ForegroundDataOptions:
    """Data."""

    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    image_dir: str | None = None
    """Folder of images; default the run's, or that of --dataset."""
    sal_dir: str | None = None
    """Folder of saliency maps; default as for image_dir. `none`, or a dataset without any: labels serve as saliency."""
    label_dir: str | None = None
    """Folder of label PNGs; default data/NAME/pseudo_seg_labels_EXP in the project."""
    train_list: str | None = None
    """List of images, with or without tags, to take objects from; default as for image_dir."""
    published: str | None = None
    """Import this published bank instead: TAG/NAME.npy or CLASS/NAME.npy with img, seg and optionally sal; nothing is
    unpickled."""
    published_bgr: bool = False
    """The published images have OpenCV's channel order, BGR; check the colours with --preview."""


@dataclass(frozen=True)
class ForegroundMethodOptions:
    """Selection of objects."""

    min_area: Fraction = 0.10
    """Smallest fraction of the image that the object covers."""
    max_area: Fraction = 0.70
    """Largest fraction of the image that the object covers."""
    min_side: Count = 32
    """Smallest width and height of the object's box, pixels."""
    min_agreement: Fraction = 0.5
    """Smallest IoU between the object and the salient pixels."""
    min_per_class: CountOrNone = 20
    """Objects cut off by the image border are used only while their class has fewer objects than this."""


@dataclass(frozen=True)
class ForegroundOutputOptions:
    """Output."""

    to: Literal["bank", "published"] = "bank"
    """published: convert the bank sem_seg_fg/EXP to the format that the published training reads, TAG/NAME.npy and
    seg_fg_dirs.npy."""
    out: str | None = None
    """Folder for the bank; default sem_seg_fg/EXP in the project, and sem_seg_fg/EXP_published for to=published."""
    preview: bool = False
    """Also draw a contact sheet, preview.jpg in the bank."""
    overwrite: bool = False
    """Overwrite existing foregrounds."""


@dataclass(frozen=True)
class ForegroundOptions(
    RunOptions, ForegroundDataOptions, ForegroundMethodOptions, ForegroundOutputOptions, WorkerOptions, PresetOptions
):
    """Build the bank of objects that copy-paste augmentation (CDA) pastes, from labels, or import a published one."""

    PUBLISHED = FLAGS_OF["scripts/build_foregrounds.py"]

    def __post_init__(self) -> None:
        if self.min_area >= self.max_area:
            raise UserError("the range is empty", f"--min_area={self.min_area} --max_area={self.max_area}")
        own = {name: getattr(self, name) for name in ("label_dir", "train_list", "image_dir", "sal_dir")}
        given = [f"--{name}" for name, value in own.items() if value]
        if self.published and given:
            raise UserError("a published bank has its own images and masks", "--published", f"omit {', '.join(given)}")
        if self.published and self.to == "published":
            raise UserError("the bank already has the published format", "--published", remedy="omit --to=published")
        if self.published_bgr and not self.published and self.to != "published":
            remedy = "add --published=FOLDER or --to=published"
            raise UserError("applies only to a published bank", "--published_bgr", remedy=remedy)


@dataclass(frozen=True)
class DrawPastesOptions:
    """Draw training images before and after pasting an object, with their saliency."""

    dataset: str = "data/voc12"
    """The dataset whose training images are drawn."""
    cda_bank: str = "sem_seg_fg/l2g_voc"
    """Folder of foregrounds written by scripts/build_foregrounds.py."""
    cda_tr: Fraction | None = CopyPasteOptions.cda_tr
    """CDA+: largest fraction of the object that may cover salient pixels; null takes one random position (CDA)."""
    cda_rotation: Degrees = CopyPasteOptions.cda_rotation
    """Largest rotation of an object, degrees, in either direction."""
    cda_edge: NotNegative = CopyPasteOptions.cda_edge
    """Width in pixels over which an object's edge is blended."""
    count: Count = 8
    """Images on the sheet."""
    seed: Seed = 0
    """Seed of images, objects and positions."""
    out: str = "pastes.png"
    """The picture to write."""
