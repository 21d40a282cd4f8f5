"""The options of train_l2g.py that are the method: network, local-to-global transfer, copy-paste."""

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.valid import Degrees, Fraction, Items, NotNegative, Pixels, Range, Stride, Width

Stage = Annotated[int, Range(2, 7)]


@dataclass(frozen=True)
class NetworkOptions:
    """Network."""

    backbone: str = "resnet38"
    """resnet38, timm:NAME, or timm:NAME@4 for the model truncated after its fourth feature map or block."""
    classifier: Literal["l2g", "linear"] = "l2g"
    """l2g, the method; or linear: a logistic regression on the final features of the frozen backbone, in one pass over
    the images. The mean of both CAMs (scripts/mean_cams.py) makes better labels of few photographs than either."""
    suppression: str = "none"
    """none, fixed:0.55 (any fraction), or learnable."""
    suppression_stages: Annotated[tuple[Stage, ...], Items(0, 6)] = (6, 7)
    """Stages whose output is suppressed."""
    attention: str = "none"
    """none, or one of se sa cam pam eca ca simam nam gam psa_channel psa_spatial, or a sum such as se+sa."""
    init_weights: str = "none"
    """ImageNet weights of the backbone: a .params, .pth or .safetensors file, package:NAME for one in an installed
    package, `timm` (downloads), or none."""
    load_checkpoint: str | None = None
    """A checkpoint, own or published, to start from."""
    frozen_stages: Annotated[int, Range(0, 100)] | Literal["backbone"] = 2
    """Number of frozen stages: 0 none, 1 conv1a, 2 conv1a and b2, …; of a transformer, its embedding and that many
    blocks; backbone: all but the new layers. --freeze is another name."""
    freeze_batch_norm: bool = True
    """Freeze the backbone's batch norms (statistics and affine parameters)."""
    train_gates: Literal["all", "published"] = "all"
    """all: train attention and suppression; published: train only their convolutions, at the learning rate of
    pretrained layers, like the published optimiser."""
    dropout: tuple[Fraction, Fraction] = (0.3, 0.5)
    """Dropout in stages 6 and 7 of resnet38."""
    width: Width = 1.0
    """Multiplier of every channel count of resnet38."""
    output_stride: Stride | None = None
    """Stride of the feature map in pixels, for convolutional timm backbones; default 8. Transformers have their own."""
    padding: Literal["zeros", "replicate"] = "zeros"
    """Padding of convolutions: zeros as published; replicate repeats the outermost values and avoids stripes along the
    borders of CAMs."""


@dataclass(frozen=True)
class TransferOptions:
    """Local-to-global transfer."""

    input_size: Pixels = 448
    """Side of the global network's square crop, pixels."""
    crop_size: Pixels = 320
    """Side of the local network's square patches, pixels."""
    num_patches: Annotated[int, Range(1, 64)] = 6
    """Patches per crop."""
    corner_patches: bool = True
    """Place the first four patches in the crop's corners and the others at random."""
    kd_weight: NotNegative = 10.0
    """Weight k of the knowledge transfer; 0 trains only the global network, without a local one."""
    kd_loss: Literal["mse", "cross_entropy", "balanced"] = "mse"
    """Distance between global map and target: mse as published; cross_entropy does not vanish on short schedules."""
    bg_threshold: Fraction = 0.001
    """Local activations up to this value are not part of the target (only with saliency)."""
    background_target: Literal["network", "activation", "complement"] = "network"
    """Background of the target. network: where the local network's background map exceeds bg_threshold, as published
    for VOC; activation: that map itself, as published for COCO; complement: the complement of the object."""
    global_cls_weight: NotNegative = 0.0
    """Weight of the global network's classification loss; the local network's has weight 1."""


@dataclass(frozen=True)
class CopyPasteOptions:
    """Copy-paste (CDA)."""

    cda: Literal["off", "cda", "cda+"] = "off"
    """Copy-paste of foregrounds: off, cda (one random position), cda+ (the position that covers least of other
    objects)."""
    cda_bank: str | None = None
    """Folder of foregrounds written by scripts/build_foregrounds.py; default sem_seg_fg/EXP in the project."""
    cda_batch: Literal["pair", "twin"] = "pair"
    """pair: a batch contains each image and its pasted twin, as published; twin: only the twins."""
    cda_probability: Fraction = 1.0
    """Probability that a twin contains a pasted object; otherwise it is another crop of the image."""
    cda_tr: NotNegative = 0.2
    """cda+ takes the first position at which less than this fraction of the object covers salient pixels, else the
    best."""
    cda_rotation: Degrees = 0.0
    """Largest rotation of an object, degrees, in either direction; the original CDA takes 90."""
    cda_edge: NotNegative = 0.0
    """Width in pixels over which an object's edge is blended; 0 is a hard edge, as published."""
    cda_min_visible: Annotated[float, Range(0, 0.999)] = 0.2
    """Fraction of a pasted object that must be visible in the crop and its patches for its tag to be added."""
