"""The option groups of the segmentation network, with the keys of the published DeepLab v2 files (PyTorch port)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.valid import (
    Factors,
    Fraction,
    Items,
    LoaderWorkers,
    Pixels,
    Range,
    Stride,
    Width,
)
from utils.data.catalog import IGNORE_INDEX

Labels = Annotated[int, Range(2, IGNORE_INDEX, also=(0,))]
Channel = Annotated[float, Range(0, 255)]
Blocks = Annotated[int, Range(1, 100)]
Dilations = Annotated[tuple[Annotated[int, Range(1, 256)], ...], Items(1, 16)]
SmallerScales = Annotated[tuple[Annotated[float, Range(0.05, 0.99)], ...], Items(0, 16)]

# names of datasets in published files -> their names here
PUBLISHED_NAMES = {"voc": "voc12", "vocaug": "voc12", "coco": "coco14"}


@dataclass(frozen=True)
class ExperimentSettings:
    """The experiment and its output."""

    ID: str = "l2g_voc"
    """Name of the experiment, of its results, and of the pseudo labels to train on."""
    RUN: str | None = None
    """Folder below ID for the results, for several trainings on the labels of one experiment."""
    OUTPUT_DIR: str = "data"
    """Folder for models/ID, features/ID and scores/ID; a relative path is relative to deeplabv2/."""


@dataclass(frozen=True)
class SplitSettings:
    """Image lists: names of .txt files in the dataset's folder without the suffix, or paths."""

    TRAIN: str = "train_aug"
    """Images to train on."""
    VAL: str = "val"
    """Images to score."""
    TEST: str = "test"
    """Images to label for the evaluation server."""


@dataclass(frozen=True)
class DatasetSettings:
    """Images, labels, and augmentation."""

    NAME: str = "voc12"
    """The dataset's folder in data/, unless ROOT names one."""
    ROOT: str | None = None
    """Path of a dataset in VOC's layout; default data/NAME."""
    LABELS: str | None = None
    """File of class names, background first, one index and name per line; default classes.txt of the dataset."""
    N_CLASSES: Labels = 0
    """Number of labels, including background; 0 uses the dataset's."""
    IGNORE_LABEL: int = IGNORE_INDEX
    """Label of ignored pixels."""
    SCALES: Factors = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Factors by which training images are randomly resized."""
    SCALE_DRAW: Literal["listed", "between"] = "listed"
    """listed: one of SCALES, as published; between: any factor between the smallest and the largest, log-uniform."""
    JITTER: tuple[Fraction, Fraction, Fraction] = (0.0, 0.0, 0.0)
    """Largest change of brightness, contrast and saturation of training images: 0.4 is a factor of 0.6 to 1.4."""
    GRAY: Fraction = 0.0
    """Probability of converting a training image to grey."""
    FLIP: Fraction = 0.5
    """Probability of mirroring a training image."""
    PASTE: Fraction = 0.0
    """Probability of pasting an object of another training image, whose label has a single class, into a training image
    and its label."""
    IMAGE_DIR: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    LABEL_DIR: str | None = None
    """Folder of labels to train on; default data/NAME/pseudo_seg_labels_ID with the experiment's ID."""
    CORRECTED_LIST: str | None = None
    """List of training images with labels corrected by hand: a .txt of the dataset, or a path; a name per line."""
    CORRECTED_WEIGHT: Annotated[float, Range(0, 1000, above=True)] = 5.0
    """Weight of a pixel of corrected images in the loss, relative to the others'; the mean over the list stays 1."""
    MASK_DIR: str | None = None
    """Folder of ground-truth masks to score against; default SegmentationClass in the dataset."""
    SPLIT: SplitSettings = SplitSettings()
    """Image lists."""

    @property
    def folder(self) -> str:
        """The dataset's folder, for open_dataset."""
        return self.ROOT or f"data/{PUBLISHED_NAMES.get(self.NAME, self.NAME)}"


@dataclass(frozen=True)
class LoaderSettings:
    """Reading of images."""

    NUM_WORKERS: LoaderWorkers = 2
    """Processes that read images; the samples are the same for any number."""


@dataclass(frozen=True)
class MeanSettings:
    """Channel means to subtract, 0..255; give all three or none."""

    R: Channel | None = None
    """Red; default the network's own."""
    G: Channel | None = None
    """Green; default the network's own."""
    B: Channel | None = None
    """Blue; default the network's own."""

    def as_rgb(self) -> tuple[float, float, float] | None:
        """Red, green, blue, or None for the network's own."""
        return None if self.R is None or self.G is None or self.B is None else (self.R, self.G, self.B)


@dataclass(frozen=True)
class SizeSettings:
    """Sizes in pixels."""

    BASE: Pixels | None = None
    """Longer side of a training image before the random scale; default its own size."""
    TRAIN: Pixels | None = 321
    """Side of the training crop. Some published files leave it empty; these cannot be used for training."""
    TEST: Pixels | None = None
    """Longer side to which test and predict scale an image for the network; labels keep the image's size. Default BASE.
    Without BASE, only larger images are scaled down; by default each image is used at its own size, as published."""


@dataclass(frozen=True)
class ImageSettings:
    """Input of the network."""

    MEAN: MeanSettings = MeanSettings()
    """Subtracted from the image; also fills the area of a crop outside the image."""
    SIZE: SizeSettings = SizeSettings()
    """Sizes in pixels."""


@dataclass(frozen=True)
class ModelSettings:
    """The network and its initial weights."""

    NAME: str = "DeepLabV2_ResNet101_MSC"
    """DeepLabV2_ResNet101, DeepLabV2_timm:NAME, DeepLabV3Plus_timm:NAME (any timm model with spatial features) or
    DeepLabV3Plus_ResNet101; each also with _MSC."""
    N_BLOCKS: tuple[Blocks, Blocks, Blocks, Blocks] = (3, 4, 23, 3)
    """Residual blocks of layers 2 to 5 of DeepLabV2_ResNet101."""
    WIDTH: Width = 1.0
    """Multiplier of every channel count of DeepLabV2_ResNet101."""
    ATROUS_RATES: Dilations = (6, 12, 18, 24)
    """Dilations of the head's 3x3 convolutions, in steps of the feature map; DeepLabV3Plus has three of its own."""
    SCALES: SmallerScales = (0.5, 0.75)
    """Scales that a multi-scale network (..._MSC) uses in addition to 1."""
    OUTPUT_STRIDE: Stride | None = None
    """Stride of the feature map, pixels; default 8, and 16 for DeepLabV3Plus."""
    INIT_MODEL: str | None = None
    """Initial weights: a .pth or .safetensors file, package:NAME for one in an installed package, `imagenet`
    (downloads), or none."""
    FREEZE_BATCH_NORM: bool = True
    """Freeze the backbone's batch norms (statistics and affine parameters); false for random weights."""
    FROZEN_STAGES: Annotated[int, Range(0, 100)] | Literal["backbone"] = 0
    """Number of frozen stages: 0 none, 1 the stem, up to the backbone's last; of a transformer, its embedding and that
    many blocks; backbone: all but the head."""
    TAG_EVIDENCE: Annotated[float, Range(0, 100)] = 0.0
    """Strength with which a classifier of whole images, fitted to their tags before the training, weighs the classes of
    a photo in test and predict; 0: none. Only for timm networks."""


@dataclass(frozen=True)
class ViewSettings:
    """Test-time augmentation: the probabilities of all views are averaged."""

    SCALES: Factors = (1.0,)
    """Factors on the image's size."""
    MIRROR: bool = False
    """Also use the mirror image of each view."""
