"""The groups SOLVER and CRF of the segmentation network's options."""

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.valid import (
    Batches,
    BatchSize,
    BatchSizeOrOwn,
    Count,
    CountOrNone,
    Device,
    Momentum,
    NotNegative,
    Pixels,
    Positive,
    PositiveFraction,
    Precision,
    Range,
    Seed,
)
from utils.crf.strengths import DEEPLAB_CRF

Iterations = Annotated[int, Range(1, 1000)]


@dataclass(frozen=True)
class BatchSettings:
    """Images per batch."""

    TRAIN: BatchSize = 5
    """Images per training batch and process."""
    TEST: BatchSizeOrOwn = 0
    """Images of equal size per test batch; 0 is 4 on CUDA, 1 on a CPU."""


@dataclass(frozen=True)
class SolverSettings:
    """Schedule, loss, optimiser and machine."""

    BATCH_SIZE: BatchSettings = BatchSettings()
    """Images per batch."""
    ITER_MAX: Count = 20_000
    """Optimiser steps."""
    ITER_SIZE: Batches = 2
    """Number of batches whose gradients are averaged per step."""
    ITER_SAVE: Count = 5_000
    """Steps between checkpoints to keep."""
    ITER_TB: Count = 100
    """Steps between points of the TensorBoard curves."""
    AVERAGE_LOSS: Count = 20
    """Steps over which the displayed loss is averaged."""
    LR: Positive = 2.5e-4
    """Learning rate of the backbone."""
    HEAD_LR_FACTOR: Positive = 10.0
    """Factor on the learning rate for the weights of the head."""
    HEAD_BIAS_FACTOR: Positive = 2.0
    """Further factor for the biases of the head, which have no weight decay."""
    LAYER_DECAY: PositiveFraction = 1.0
    """Factor on the learning rate of a timm backbone per layer below the head, e.g. 0.75 for transformers."""
    LR_DECAY: Count = 10
    """Steps between changes of the learning rate."""
    POLY_POWER: Positive = 0.9
    """Power of the polynomial schedule, from the learning rate to zero."""
    WARMUP_STEPS: CountOrNone = 0
    """Steps of linear warm-up."""
    OPTIMIZER: Literal["sgd", "adamw"] = "sgd"
    """sgd as published; adamw trains faster without pretrained weights."""
    MOMENTUM: Momentum = 0.9
    """Momentum of SGD."""
    WEIGHT_DECAY: NotNegative = 5e-4
    """Weight decay of all parameters except the biases of the head."""
    DECAY_VECTORS: bool = True
    """Apply weight decay to the backbone's norms and biases too, as published; false excludes all norms and biases."""
    AVERAGE_WEIGHTS: Momentum = 0.0
    """Largest decay of an exponential moving average of the weights, e.g. 0.995; the average is stored and tested.
    0 disables it."""
    LOSS: Literal["cross_entropy", "focal", "balanced"] = "cross_entropy"
    """Loss over labelled pixels; focal reduces the weight of easy pixels; balanced averages foreground and background
    separately."""
    FOCAL_GAMMA: NotNegative = 2.0
    """Power of focal; 0 is cross entropy."""
    LOSS_MEAN: Literal["labelled", "all"] = "labelled"
    """Divisor of cross_entropy and focal: labelled pixels, or all pixels, including ignored and padded ones."""
    CLIP_GRAD: NotNegative = 0.0
    """Gradient clipping: largest norm; 0 disables it."""
    AMP: Precision = "off"
    """Mixed precision; auto: bf16 if the device supports it, else off."""
    CHANNELS_LAST: bool = False
    """Channels-last memory layout: faster on GPUs with mixed precision."""
    CHECKPOINT_ACTIVATIONS: bool = False
    """Activation checkpointing: recompute activations of blocks in the backward pass instead of storing them."""
    COMPILE: bool = False
    """On a GPU, compile the network with torch.compile; the first step takes minutes."""
    TF32: bool = True
    """On CUDA, use TF32 (10-bit mantissas) for matrix products and convolutions; false: full float32."""
    DETERMINISTIC: bool = False
    """On CUDA, use only deterministic algorithms, so that a resumed run ends in identical bytes; slower."""
    DEVICE: Device = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    SEED: Seed = 0
    """Seed of all randomness."""
    RESUME: bool = False
    """Resume from the newest checkpoint."""
    SAVE_MINUTES: NotNegative = 10.0
    """Minutes between checkpoints for resuming."""
    KEEP_CHECKPOINTS: Count = 2
    """Number of most recent checkpoints of ITER_SAVE to keep, including the final one."""


@dataclass(frozen=True)
class CrfSettings:
    """The dense CRF."""

    SIZE: Pixels = 640
    """Largest longer side of an image; larger images are scaled down, and their labels scaled up again."""
    ITER_MAX: Iterations = int(DEEPLAB_CRF["iterations"])
    """Mean-field iterations."""
    POS_W: NotNegative = DEEPLAB_CRF["pos_w"]
    """Weight of the kernel over positions."""
    POS_XY_STD: Positive = DEEPLAB_CRF["pos_xy_std"]
    """Standard deviation of that kernel, pixels."""
    BI_W: NotNegative = DEEPLAB_CRF["bi_w"]
    """Weight of the kernel over positions and colours."""
    BI_XY_STD: Positive = DEEPLAB_CRF["bi_xy_std"]
    """Standard deviation of that kernel over positions, pixels."""
    BI_RGB_STD: Positive = DEEPLAB_CRF["bi_rgb_std"]
    """Standard deviation of that kernel over colours, 0..255."""
