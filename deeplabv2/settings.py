"""Every option of the segmentation trainer, once, under the keys of the published DeepLab v2 files (PyTorch port)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from utils.config.parser import parse_options
from utils.crf.strengths import DEEPLAB_CRF
from utils.data.catalog import IGNORE_INDEX
from utils.files.locate import DEEPLAB_ROOT, existing_path


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
    """Image lists: names of .txt files in the data set's folder without their ending, or paths."""

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
    """The data set's folder in data/, unless ROOT names one."""
    ROOT: str | None = None
    """A data set's folder in VOC's layout, wherever it is; default data/NAME."""
    LABELS: str | None = None
    """File of class names, background first, an index and a name a line; default classes.txt of the data set."""
    N_CLASSES: int = 0
    """Labels that the network tells apart, background among them; 0: those of the data set."""
    IGNORE_LABEL: int = IGNORE_INDEX
    """Label of pixels that count nowhere."""
    SCALES: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Factors, one of which a training image is resized by."""
    SCALE_DRAW: Literal["listed", "between"] = "listed"
    """listed: one of SCALES, as published; between: any factor from their least to their largest, log-uniform."""
    JITTER: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Most by which brightness, contrast and saturation of a training image change: 0.4 is a factor of 0.6 to 1.4."""
    GRAY: float = 0.0
    """Probability of a training image without colour."""
    FLIP: float = 0.5
    """Probability of a mirrored training image."""
    IMAGE_DIR: str | None = None
    """Folder of images; default JPEGImages in the data set."""
    LABEL_DIR: str | None = None
    """Folder of labels that are trained on; default data/NAME/pseudo_seg_labels_ID with the experiment's ID."""
    MASK_DIR: str | None = None
    """Folder of ground-truth masks that are scored against; default SegmentationClass in the data set."""
    SPLIT: SplitSettings = SplitSettings()
    """Image lists."""

    @property
    def folder(self) -> str:
        """The data set's folder, for utils.paths.open_dataset."""
        return self.ROOT or f"data/{self.NAME}"


@dataclass(frozen=True)
class LoaderSettings:
    """Reading of images."""

    NUM_WORKERS: int = 2
    """Processes that read images; the samples are the same for any number."""


@dataclass(frozen=True)
class MeanSettings:
    """What is subtracted from each channel, in 0..255; give all three or none."""

    R: float | None = None
    """Red; default the network's own."""
    G: float | None = None
    """Green; default the network's own."""
    B: float | None = None
    """Blue; default the network's own."""

    def as_rgb(self) -> tuple[float, float, float] | None:
        """Red, green, blue, or None for the network's own."""
        return None if self.R is None or self.G is None or self.B is None else (self.R, self.G, self.B)


@dataclass(frozen=True)
class SizeSettings:
    """Sizes in pixels."""

    BASE: int | None = None
    """Longer side of a training image before the random scale; default its own size."""
    TRAIN: int = 321
    """Side of the training crop."""
    TEST: int | None = None
    """Stands in the published files and does nothing, there as here: whole images are tested."""


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
    N_BLOCKS: tuple[int, int, int, int] = (3, 4, 23, 3)
    """Residual blocks of layers 2 to 5 of DeepLabV2_ResNet101."""
    WIDTH: float = 1.0
    """Multiplier of every channel count of DeepLabV2_ResNet101."""
    ATROUS_RATES: tuple[int, ...] = (6, 12, 18, 24)
    """Dilations of the head's 3x3 convolutions, in steps of the feature map; DeepLabV3Plus takes its own three."""
    SCALES: tuple[float, ...] = (0.5, 0.75)
    """Sizes, beside the image's own, that a multi-scale network (..._MSC) looks at."""
    OUTPUT_STRIDE: int | None = None
    """Pixels of the image per step of the feature map; default 8, and 16 for DeepLabV3Plus."""
    INIT_MODEL: str | None = None
    """Initial weights: a .pth or .safetensors file, package:NAME for the one in an installed package, `imagenet`
    (downloads), or none."""
    FREEZE_BATCH_NORM: bool = True
    """Keep the backbone's batch norms (statistics and affine) as they were loaded; false from random weights."""


@dataclass(frozen=True)
class BatchSettings:
    """Images that go through the network together."""

    TRAIN: int = 5
    """In a training step, each process."""
    TEST: int = 1
    """In a test, of one size."""


@dataclass(frozen=True)
class SolverSettings:
    """The schedule of training, its loss, and the machine."""

    BATCH_SIZE: BatchSettings = BatchSettings()
    """Images that go through the network together."""
    ITER_MAX: int = 20_000
    """Optimiser steps."""
    ITER_SIZE: int = 2
    """Batches whose gradients are averaged before a step."""
    ITER_SAVE: int = 5_000
    """Steps between checkpoints that stay."""
    ITER_TB: int = 100
    """Steps between points of the TensorBoard curves."""
    AVERAGE_LOSS: int = 20
    """Steps whose mean loss is shown."""
    LR: float = 2.5e-4
    """Rate of the backbone."""
    HEAD_LR_FACTOR: float = 10.0
    """Factor on the rate for the weights of the head; its biases learn at twice that, without decay."""
    LR_DECAY: int = 10
    """Steps between changes of the rate."""
    POLY_POWER: float = 0.9
    """Power of the polynomial by which the rate falls to zero."""
    OPTIMIZER: Literal["sgd", "adamw"] = "sgd"
    """sgd as published; adamw learns faster where no pretrained weights are loaded."""
    MOMENTUM: float = 0.9
    """Of SGD."""
    WEIGHT_DECAY: float = 5e-4
    """Of everything but the biases of the head."""
    LOSS: Literal["cross_entropy", "focal", "balanced"] = "cross_entropy"
    """Over labelled pixels; focal plays easy pixels down; balanced averages foreground and background apart."""
    FOCAL_GAMMA: float = 2.0
    """Power of focal; 0 is cross entropy."""
    CLIP_GRAD: float = 0.0
    """Largest norm of the gradient; 0 leaves it alone."""
    AMP: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision."""
    CHANNELS_LAST: bool = False
    """Channels-last memory layout: faster on GPUs with mixed precision."""
    DEVICE: str = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    SEED: int = 0
    """All randomness follows from it."""
    RESUME: bool = False
    """Continue where the newest checkpoint stands."""
    SAVE_MINUTES: float = 10.0
    """Minutes between checkpoints that only serve to resume."""
    KEEP_CHECKPOINTS: int = 2
    """Newest checkpoints of ITER_SAVE that are kept, the final one among them."""


@dataclass(frozen=True)
class CrfSettings:
    """The dense CRF, under the names of its parameters."""

    ITER_MAX: int = DEEPLAB_CRF["iterations"]
    """Mean-field iterations."""
    POS_W: float = DEEPLAB_CRF["pos_w"]
    """Weight of the kernel over positions."""
    POS_XY_STD: float = DEEPLAB_CRF["pos_xy_std"]
    """Its width, pixels."""
    BI_W: float = DEEPLAB_CRF["bi_w"]
    """Weight of the kernel over positions and colours."""
    BI_XY_STD: float = DEEPLAB_CRF["bi_xy_std"]
    """Its width over positions, pixels."""
    BI_RGB_STD: float = DEEPLAB_CRF["bi_rgb_std"]
    """Its width over colours, 0..255."""


@dataclass(frozen=True)
class Settings:
    """Train DeepLab v2 on pseudo labels, test it, refine its maps by a CRF."""

    EXP: ExperimentSettings = ExperimentSettings()
    """The experiment."""
    DATASET: DatasetSettings = DatasetSettings()
    """Images and labels."""
    DATALOADER: LoaderSettings = LoaderSettings()
    """Reading of images."""
    IMAGE: ImageSettings = ImageSettings()
    """What the network is given."""
    MODEL: ModelSettings = ModelSettings()
    """The network."""
    SOLVER: SolverSettings = SolverSettings()
    """The schedule."""
    CRF: CrfSettings = CrfSettings()
    """The dense CRF."""

    ALIASES: ClassVar[dict[str, str]] = {
        "config-path": "config",
        "config_path": "config",
        # as the classifier's programs call them
        "dataset": "DATASET.ROOT",
        "resume": "SOLVER.RESUME",
    }

    def __post_init__(self) -> None:
        for broken, message in _rules(self):
            if broken:
                raise ValueError(message)


SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_settings(argv: Sequence[str] | None = None, *, settings_class: type[SettingsT] = Settings) -> SettingsT:
    """Defaults < `--config-path file.yaml` < `--SOLVER.LR=…`; leaves with status 2 and one message if it cannot.

    A program with flags of its own gives a dataclass that extends Settings by them.
    """
    return parse_options(settings_class, argv, places=(DEEPLAB_ROOT,))


def find_path(path: str | Path, what: str) -> Path:
    """An input as the user means it: absolute, or from the current folder, deeplabv2/, or the project's folder."""
    return existing_path(path, what, places=(DEEPLAB_ROOT,))


def _rules(settings: Settings) -> list[tuple[bool, str]]:
    """Whether each rule over the values is broken, with what is said then; types and choices are the parser's."""
    data, mean, model, solver = settings.DATASET, settings.IMAGE.MEAN, settings.MODEL, settings.SOLVER
    given = [value is not None for value in (mean.R, mean.G, mean.B)]
    labels = data.N_CLASSES
    folders = {"EXP.ID": settings.EXP.ID} | ({} if settings.EXP.RUN is None else {"EXP.RUN": settings.EXP.RUN})
    return [
        *((value < 1, f"{key}={value}: must be at least 1") for key, value in _counts(settings).items()),
        *((not value > 0, f"{key}={value}: must be above 0") for key, value in _positive(settings).items()),
        *(
            (not name or "/" in name or name in (".", ".."), f"{key}={name!r} names folders: use a name without '/'")
            for key, name in folders.items()
        ),
        (
            labels != 0 and not 2 <= labels <= IGNORE_INDEX,
            f"DATASET.N_CLASSES={labels}: must be 2 to {IGNORE_INDEX}, background counted, or 0 for the data set's own",
        ),
        (
            data.IGNORE_LABEL != IGNORE_INDEX,
            f"DATASET.IGNORE_LABEL={data.IGNORE_LABEL}: must be {IGNORE_INDEX}, as in every label file here; "
            "rewrite the labels",
        ),
        (
            not data.SCALES or min(data.SCALES) <= 0,
            f"DATASET.SCALES={list(data.SCALES)}: give one or more factors above 0",
        ),
        (not 0 <= data.FLIP <= 1, f"DATASET.FLIP={data.FLIP}: a probability is 0 to 1"),
        (not 0 <= data.GRAY <= 1, f"DATASET.GRAY={data.GRAY}: a probability is 0 to 1"),
        (
            not all(0 <= value <= 1 for value in data.JITTER),
            f"DATASET.JITTER={list(data.JITTER)}: brightness, contrast and saturation, each 0 to 1",
        ),
        (any(given) and not all(given), f"IMAGE.MEAN={mean}: give R, G and B, or none of them"),
        (solver.FOCAL_GAMMA < 0, f"SOLVER.FOCAL_GAMMA={solver.FOCAL_GAMMA}: must be 0 or above"),
        (
            not all(0 < scale < 1 for scale in model.SCALES),
            f"MODEL.SCALES={list(model.SCALES)}: factors between 0 and 1; the image's own size is always looked at",
        ),
    ]


def _positive(settings: Settings) -> dict[str, float]:
    """What must be above 0."""
    widths = {key: getattr(settings.CRF, key) for key in ("POS_XY_STD", "BI_XY_STD", "BI_RGB_STD")}
    return {"SOLVER.LR": settings.SOLVER.LR} | {f"CRF.{key}": value for key, value in widths.items()}


def _counts(settings: Settings) -> dict[str, int]:
    """What must be at least 1."""
    image, solver = settings.IMAGE, settings.SOLVER
    steps = ("ITER_MAX", "ITER_SIZE", "ITER_SAVE", "ITER_TB", "AVERAGE_LOSS", "LR_DECAY", "KEEP_CHECKPOINTS")
    return {
        "IMAGE.SIZE.TRAIN": image.SIZE.TRAIN,
        "IMAGE.SIZE.BASE": 1 if image.SIZE.BASE is None else image.SIZE.BASE,
        "SOLVER.BATCH_SIZE.TRAIN": solver.BATCH_SIZE.TRAIN,
        "SOLVER.BATCH_SIZE.TEST": solver.BATCH_SIZE.TEST,
        "CRF.ITER_MAX": settings.CRF.ITER_MAX,
    } | {f"SOLVER.{key}": getattr(solver, key) for key in steps}
