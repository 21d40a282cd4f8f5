"""The groups SOLVER and CRF of the segmentation network's options."""

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.valid import (
    Batches,
    BatchSize,
    Count,
    CountOrNone,
    Device,
    Momentum,
    NotNegative,
    Pixels,
    Positive,
    Precision,
    Range,
    Seed,
)
from utils.crf.strengths import DEEPLAB_CRF

Iterations = Annotated[int, Range(1, 1000)]


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
    AMP: Precision = "off"
    """Mixed precision; auto: bf16 where the device computes in it, else off."""
    CHANNELS_LAST: bool = False
    """Channels-last memory layout: faster on GPUs with mixed precision."""
    CHECKPOINT_ACTIVATIONS: bool = False
    """Activation checkpointing: compute activations of blocks again in the backward pass instead of storing them."""
    DEVICE: Device = "auto"
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
