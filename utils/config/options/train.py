"""The options of train_l2g.py."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from utils.config.options.groups import RunOptions
from utils.config.options.method import CopyPasteOptions, NetworkOptions, TransferOptions
from utils.config.options.plan import PlanOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import (
    Batches,
    BatchSize,
    Color,
    Count,
    CountOrNone,
    Deviation,
    Device,
    Factors,
    Fraction,
    Items,
    LoaderWorkers,
    Momentum,
    NotNegative,
    Pixels,
    PixelsOrOwn,
    Positive,
    PositiveFraction,
    Precision,
    Range,
    Seed,
)
from utils.errors import UserError

Epochs = Annotated[int, Range(1, 100_000)]


@dataclass(frozen=True)
class DataOptions:
    """Data."""

    dataset: str = "data/voc12"
    """A dataset's folder in VOC's layout; the published names of voc12 and coco14 also work."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    sal_dir: str | None = None
    """Folder of saliency maps; default Sal in the dataset; `none` trains without saliency."""
    train_list: str | None = None
    """List of training images with tags; default train_cls.txt in the dataset."""
    resize: Pixels = 512
    """Pixels of the short side (resize_mode short) or of both sides (square) before the crop."""
    resize_mode: Literal["short", "square"] = "short"
    """short keeps the aspect ratio."""
    resampling: Literal["bicubic", "bilinear"] = "bicubic"
    """Interpolation of resize. bicubic: bicubic for images and nearest for saliency maps, as published for VOC;
    bilinear: bilinear for both, as published for COCO."""
    color_jitter: tuple[NotNegative, NotNegative, NotNegative, Annotated[float, Range(0, 0.5)]] = (0.3, 0.3, 0.3, 0.1)
    """Brightness, contrast, saturation, hue."""
    flip: Fraction = 0.0
    """Probability of mirroring an image."""
    mean: Color | None = None
    """Mean of the channels, 0..1; default the backbone's own."""
    std: Deviation | None = None
    """Standard deviation of the channels; default the backbone's own."""


@dataclass(frozen=True)
class ScheduleOptions:
    """Schedule."""

    epochs: Epochs = 10
    """Number of epochs, including those before start_epoch."""
    start_epoch: Annotated[int, Range(0, 100_000)] = 0
    """First epoch (from 0) of a new run that continues from load_checkpoint and its optimiser state."""
    batch_size: BatchSize = 3
    """Images per step and process."""
    accumulate: Batches = 1
    """Number of batches whose gradients are averaged per step."""
    lr: Positive = 0.001
    """Learning rate of pretrained weights; biases use twice this value."""
    new_lr_factor: Positive = 10.0
    """Factor on the learning rate of new layers: CAM head, attention, suppression."""
    layer_decay: PositiveFraction = 1.0
    """Factor on the learning rate of pretrained weights per layer below the head, e.g. 0.75 for transformers."""
    schedule: Literal["step", "poly"] = "step"
    """step: multiplied by 0.1 at each epoch of decay_epochs; poly: polynomial to zero."""
    decay_epochs: Annotated[tuple[Annotated[int, Range(0, 100_000)], ...], Items(0, 100)] = (5,)
    """Epochs (from 0) at which the learning rate is multiplied by 0.1; with load_checkpoint, those before start_epoch
    are ignored."""
    poly_power: Positive = 0.9
    """Power of the polynomial schedule."""
    warmup_steps: CountOrNone = 0
    """Steps of linear warm-up, from a hundredth of the learning rate."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd as published; adamw trains faster without pretrained weights."""
    momentum: Momentum = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov momentum."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of either optimiser."""
    clip_grad: NotNegative = 0.0
    """Gradient clipping: largest norm; 0 disables it."""
    average_weights: Momentum = 0.0
    """Largest decay of an exponential moving average of the weights, e.g. 0.995. The average is stored and computes the
    CAMs. 0 disables it."""


@dataclass(frozen=True)
class CamSettings:
    """CAMs that test_l2g.py computes with this run."""

    cam_scales: Factors = (0.5, 1.0, 1.5, 2.0)
    """Factors on the image's size; each scale is used plain and mirrored."""
    cam_base_size: PixelsOrOwn = 0
    """Pixels of the image's short side at scale 1; 0 is the image's own size."""
    cam_activation: Literal["relu", "softmax"] = "relu"
    """How class maps become CAMs: their positive part, as published, or their softmax against the background."""


@dataclass(frozen=True)
class MachineOptions:
    """Machine."""

    device: Device = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    amp: Precision = "off"
    """Mixed precision; auto: bf16 if the device supports it, else off."""
    channels_last: bool = False
    """Channels-last memory layout: faster on GPUs with mixed precision."""
    local_passes: Annotated[int, Range(1, 64)] = 1
    """Parts in which the local network takes the patches of a batch, a divisor of num_patches: more parts need less
    memory and, on a CPU, hardly more time. Only with freeze_batch_norm."""
    checkpoint_activations: bool = False
    """Activation checkpointing: recompute activations of blocks in the backward pass instead of storing them."""
    compile: bool = False
    """On a GPU, compile the networks with torch.compile; the first step takes minutes."""
    tf32: bool = True
    """On CUDA, use TF32 (10-bit mantissas) for matrix products and convolutions; false: full float32."""
    deterministic: bool = False
    """On CUDA, use only deterministic algorithms, so that a resumed run ends in identical bytes; slower."""
    num_workers: LoaderWorkers = 2
    """Processes that read images; the samples are the same for any number."""
    seed: Seed = 0
    """Seed of all randomness."""


@dataclass(frozen=True)
class SavingOptions:
    """Output."""

    resume: bool = False
    """Resume the run from its newest checkpoint."""
    save_minutes: NotNegative = 10.0
    """Minutes between checkpoints within an epoch."""
    keep_checkpoints: Count = 2
    """Number of most recent epoch checkpoints to keep, including the final one."""
    log_every: Count = 20
    """Steps between points of the TensorBoard curves."""


@dataclass(frozen=True)
class TrainOptions(
    RunOptions,
    DataOptions,
    NetworkOptions,
    TransferOptions,
    CopyPasteOptions,
    ScheduleOptions,
    MachineOptions,
    SavingOptions,
    CamSettings,
    PlanOptions,
):
    """Train the L2G classifier: a global network taught by a local one, from image tags (and saliency)."""

    PUBLISHED = FLAGS_OF["train_l2g.py"]
    # former options that are constants now; config.yaml of older runs may contain them
    RETIRED: ClassVar[dict[str, float]] = {"local_cls_weight": 1.0, "decay_factor": 0.1, "warmup_factor": 0.01}

    def __post_init__(self) -> None:
        self.check_plan()
        if self.classifier == "linear":
            self._check_linear()
        if self.compile and self.checkpoint_activations:
            raise UserError("--compile and --checkpoint_activations", rule="choose one of them")
        if self.crop_size > self.input_size or self.input_size > self.resize:
            raise UserError(
                f"--crop_size={self.crop_size} --input_size={self.input_size} --resize={self.resize}",
                rule="a patch must fit into the crop, and the crop into the resized image",
            )
        if self.kd_weight == 0 and self.global_cls_weight == 0:
            raise UserError(
                "--kd_weight and --global_cls_weight are both 0", rule="the global network would learn nothing"
            )
        if self.corner_patches and self.num_patches < 4:
            raise UserError(
                f"--num_patches={self.num_patches}",
                rule="four patches are the crop's corners",
                remedy="give 4 or more, or --corner_patches=false",
            )
        if self.num_patches % self.local_passes:
            raise UserError(
                f"--local_passes={self.local_passes} --num_patches={self.num_patches}",
                rule="each pass takes as many patches",
                remedy="give a divisor of --num_patches",
            )
        if self.local_passes > 1 and not self.freeze_batch_norm:
            raise UserError(
                f"--local_passes={self.local_passes} --freeze_batch_norm=false",
                rule="trained batch norms need all patches at once",
                remedy="omit one of them",
            )
        if self.start_epoch and self.load_checkpoint in (None, "none"):
            raise UserError(f"--start_epoch={self.start_epoch}", remedy="give --load_checkpoint to continue from")
        if self.start_epoch >= self.epochs:
            raise UserError(
                f"--start_epoch={self.start_epoch} --epochs={self.epochs}", rule="no epoch is left to train"
            )
        if self.cda == "cda+" and self.sal_dir == "none":
            raise UserError("cda+ chooses positions by saliency, and --sal_dir=none", remedy="train with --cda=cda")

    def _check_linear(self) -> None:
        """Raise UserError for options that mean nothing where only a linear layer is fitted."""
        for name, unused in (
            ("suppression", "none"),
            ("attention", "none"),
            ("cda", "off"),
            ("load_checkpoint", None),
            ("cam_activation", "relu"),
            ("plan", False),
        ):
            value = getattr(self, name)
            if value != unused:
                given = f"--classifier=linear and --{name}={value}"
                raise UserError(given, rule=f"a linear classifier needs --{name}={unused}".replace("=None", "=none"))
