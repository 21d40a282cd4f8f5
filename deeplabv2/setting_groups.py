"""The groups of the segmentation network's options, under the keys of the published DeepLab v2 files (PyTorch port)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.valid import (
    Batches,
    BatchSize,
    Count,
    CountOrNone,
    Factors,
    Fraction,
    Items,
    LoaderWorkers,
    Momentum,
    NotNegative,
    Pixels,
    Positive,
    Range,
    Seed,
    Stride,
    Width,
)
from utils.crf.strengths import DEEPLAB_CRF
from utils.data.catalog import IGNORE_INDEX

Labels = Annotated[int, Range(2, IGNORE_INDEX, also=(0,))]
Channel = Annotated[float, Range(0, 255)]
Blocks = Annotated[int, Range(1, 100)]
Dilations = Annotated[tuple[Annotated[int, Range(1, 256)], ...], Items(1, 16)]
SmallerScales = Annotated[tuple[Annotated[float, Range(0.05, 0.99)], ...], Items(0, 16)]
Iterations = Annotated[int, Range(1, 1000)]

# names that published files give to datasets -> those of the same datasets here
PUBLISHED_NAMES = {"voc": "voc12", "vocaug": "voc12", "coco": "coco14"}


@dataclass(frozen=True)
class ExperimentSettings:
    """Which experiment this is, and where its results go."""

    ID: str = "l2g_voc"
    """The experiment: names the results, and the pseudo labels that are trained on."""
    RUN: str | None = None
    """Folder below ID for the results, where several trainings share the labels of one experiment."""
    OUTPUT_DIR: str = "data"
    """Folder that gets models/ID, features/ID and scores/ID; a relative one lies in deeplabv2/."""


@dataclass(frozen=True)
class SplitSettings:
    """Image lists: names of .txt files in the dataset's folder without their ending, or paths."""

    TRAIN: str = "train_aug"
    """Images that are trained on."""
    VAL: str = "val"
    """Images that are scored."""
    TEST: str = "test"
    """Images whose labels are packed for the evaluation server."""


@dataclass(frozen=True)
class DatasetSettings:
    """Images, labels, and how training varies them."""

    NAME: str = "voc12"
    """The dataset's folder in data/, unless ROOT names one."""
    ROOT: str | None = None
    """A dataset's folder in VOC's layout, wherever it is; default data/NAME."""
    LABELS: str | None = None
    """File of class names, background first, an index and a name a line; default classes.txt of the dataset."""
    N_CLASSES: Labels = 0
    """Labels that the network tells apart, background among them; 0: those of the dataset."""
    IGNORE_LABEL: int = IGNORE_INDEX
    """Label of pixels that count nowhere."""
    SCALES: Factors = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Factors, one of which a training image is resized by."""
    SCALE_DRAW: Literal["listed", "between"] = "listed"
    """listed: one of SCALES, as published; between: any factor from their least to their largest, log-uniform."""
    JITTER: tuple[Fraction, Fraction, Fraction] = (0.0, 0.0, 0.0)
    """Most by which brightness, contrast and saturation of a training image change: 0.4 is a factor of 0.6 to 1.4."""
    GRAY: Fraction = 0.0
    """Probability of a training image without colour."""
    FLIP: Fraction = 0.5
    """Probability of a mirrored training image."""
    IMAGE_DIR: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    LABEL_DIR: str | None = None
    """Folder of labels that are trained on; default data/NAME/pseudo_seg_labels_ID with the experiment's ID."""
    MASK_DIR: str | None = None
    """Folder of ground-truth masks that are scored against; default SegmentationClass in the dataset."""
    SPLIT: SplitSettings = SplitSettings()
    """Image lists."""

    @property
    def folder(self) -> str:
        """The dataset's folder, for utils.paths.open_dataset."""
        return self.ROOT or f"data/{PUBLISHED_NAMES.get(self.NAME, self.NAME)}"


@dataclass(frozen=True)
class LoaderSettings:
    """Reading of images."""

    NUM_WORKERS: LoaderWorkers = 2
    """Processes that read images; the samples are the same for any number."""


@dataclass(frozen=True)
class MeanSettings:
    """What is subtracted from each channel, in 0..255; give all three or none."""

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
    """Side of the training crop. Some published files leave it empty: they test, but cannot train."""
    TEST: Pixels | None = None
    """Longer side of an image as test and predict show it to the network, which its labels do not shrink by; default
    BASE. Without BASE it only reduces larger images, and by default each is seen at its own size, as published."""


@dataclass(frozen=True)
class ImageSettings:
    """What the network is given."""

    MEAN: MeanSettings = MeanSettings()
    """Subtracted from the image; also what a crop beyond the image's edge is filled with."""
    SIZE: SizeSettings = SizeSettings()
    """Sizes in pixels."""


@dataclass(frozen=True)
class ModelSettings:
    """The network and its initial weights."""

    NAME: str = "DeepLabV2_ResNet101_MSC"
    """DeepLabV2_ResNet101, DeepLabV2_timm:NAME, DeepLabV3Plus_timm:NAME (any convolutional timm model) or
    DeepLabV3Plus_ResNet101; each also with _MSC."""
    N_BLOCKS: tuple[Blocks, Blocks, Blocks, Blocks] = (3, 4, 23, 3)
    """Residual blocks of layers 2 to 5 of DeepLabV2_ResNet101."""
    WIDTH: Width = 1.0
    """Multiplier of every channel count of DeepLabV2_ResNet101."""
    ATROUS_RATES: Dilations = (6, 12, 18, 24)
    """Dilations of the head's 3x3 convolutions, in steps of the feature map; DeepLabV3Plus takes its own three."""
    SCALES: SmallerScales = (0.5, 0.75)
    """Sizes, beside the image's own, that a multi-scale network (..._MSC) looks at."""
    OUTPUT_STRIDE: Stride | None = None
    """Pixels of the image per step of the feature map; default 8, and 16 for DeepLabV3Plus."""
    INIT_MODEL: str | None = None
    """Initial weights: a .pth or .safetensors file, package:NAME for the one in an installed package, `imagenet`
    (downloads), or none."""
    FREEZE_BATCH_NORM: bool = True
    """Keep the backbone's batch norms (statistics and affine) as they were loaded; false from random weights."""


@dataclass(frozen=True)
class ViewSettings:
    """How often a trained network looks at an image; the mean of its probabilities counts."""

    SCALES: Factors = (1.0,)
    """Factors on the size at which it sees an image."""
    MIRROR: bool = False
    """Each also mirrored."""


@dataclass(frozen=True)
class BatchSettings:
    """Images that go through the network together."""

    TRAIN: BatchSize = 5
    """In a training step, each process."""
    TEST: BatchSize = 1
    """In a test, of one size."""


@dataclass(frozen=True)
class SolverSettings:
    """The schedule of training, its loss, and the machine."""

    BATCH_SIZE: BatchSettings = BatchSettings()
    """Images that go through the network together."""
    ITER_MAX: Count = 20_000
    """Optimiser steps."""
    ITER_SIZE: Batches = 2
    """Batches whose gradients are averaged before a step."""
    ITER_SAVE: Count = 5_000
    """Steps between checkpoints that stay."""
    ITER_TB: Count = 100
    """Steps between points of the TensorBoard curves."""
    AVERAGE_LOSS: Count = 20
    """Steps whose mean loss is shown."""
    LR: Positive = 2.5e-4
    """Rate of the backbone."""
    HEAD_LR_FACTOR: Positive = 10.0
    """Factor on the rate for the weights of the head."""
    HEAD_BIAS_FACTOR: Positive = 2.0
    """Factor on that for the biases of the head, which have no decay."""
    LR_DECAY: Count = 10
    """Steps between changes of the rate."""
    POLY_POWER: Positive = 0.9
    """Power of the polynomial by which the rate falls to zero."""
    WARMUP_STEPS: CountOrNone = 0
    """Steps over which the rate rises linearly at the start."""
    OPTIMIZER: Literal["sgd", "adamw"] = "sgd"
    """sgd as published; adamw learns faster where no pretrained weights are loaded."""
    MOMENTUM: Momentum = 0.9
    """Of SGD."""
    WEIGHT_DECAY: NotNegative = 5e-4
    """Of everything but the biases of the head."""
    DECAY_VECTORS: bool = True
    """Apply it to the backbone's norms and biases too, as published; false spares every norm and bias."""
    AVERAGE_WEIGHTS: Momentum = 0.0
    """Largest fraction that a moving average of the weights keeps in a step, e.g. 0.995; the average is what is stored
    and tested. 0 keeps no average."""
    LOSS: Literal["cross_entropy", "focal", "balanced"] = "cross_entropy"
    """Over labelled pixels; focal plays easy pixels down; balanced averages foreground and background apart."""
    FOCAL_GAMMA: NotNegative = 2.0
    """Power of focal; 0 is cross entropy."""
    LOSS_MEAN: Literal["labelled", "all"] = "labelled"
    """Pixels that cross_entropy and focal divide by: the labelled ones, or all, ignored and padded ones too."""
    CLIP_GRAD: NotNegative = 0.0
    """Largest norm of the gradient; 0 leaves it alone."""
    AMP: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision."""
    CHANNELS_LAST: bool = False
    """Channels-last memory layout: faster on GPUs with mixed precision."""
    DEVICE: str = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    SEED: Seed = 0
    """All randomness follows from it."""
    RESUME: bool = False
    """Continue where the newest checkpoint stands."""
    SAVE_MINUTES: NotNegative = 10.0
    """Minutes between checkpoints that only serve to resume."""
    KEEP_CHECKPOINTS: Count = 2
    """Newest checkpoints of ITER_SAVE that are kept, the final one among them."""


@dataclass(frozen=True)
class CrfSettings:
    """The dense CRF, under the names of its parameters."""

    SIZE: Pixels = 640
    """Longer side of the largest image that it works on; a larger one is reduced, and its labels enlarged again."""
    ITER_MAX: Iterations = int(DEEPLAB_CRF["iterations"])
    """Mean-field iterations."""
    POS_W: NotNegative = DEEPLAB_CRF["pos_w"]
    """Weight of the kernel over positions."""
    POS_XY_STD: Positive = DEEPLAB_CRF["pos_xy_std"]
    """Its width, pixels."""
    BI_W: NotNegative = DEEPLAB_CRF["bi_w"]
    """Weight of the kernel over positions and colours."""
    BI_XY_STD: Positive = DEEPLAB_CRF["bi_xy_std"]
    """Its width over positions, pixels."""
    BI_RGB_STD: Positive = DEEPLAB_CRF["bi_rgb_std"]
    """Its width over colours, 0..255."""
