"""Every option of the classifier's five entry points, once: name, default, meaning."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class TrainOptions:
    """Train the L2G classifier: a global network taught by a local one, from image tags (and saliency)."""

    experiment_name: str = "l2g"
    """The run's folder in runs/."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    dataset: str = "data/voc12"
    """A data set's folder in VOC's layout; voc12's and coco14's published names work too."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the data set."""
    sal_dir: str | None = None
    """Folder of saliency maps; default Sal in the data set; `none` trains without saliency."""
    train_list: str | None = None
    """List of training images with tags; default train_cls.txt in the data set."""

    backbone: str = "resnet38"
    """resnet38 or timm:NAME."""
    width: float = 1.0
    """Multiplier of every channel count of resnet38."""
    output_stride: int = 8
    """Pixels of the image per step of the map, for timm backbones (resnet38 has 8)."""
    attention: str = "none"
    """none, or one of se sa cam pam eca ca simam nam gam psa_channel psa_spatial, or a sum such as se+sa."""
    suppression: str = "none"
    """none, fixed:0.55 (any share), or learnable."""
    suppression_stages: tuple[int, ...] = (6, 7)
    """Stages, 2 to 7, whose output is suppressed."""
    dropout: tuple[float, float] = (0.3, 0.5)
    """Dropout in stages 6 and 7 of resnet38."""
    init_weights: str = "none"
    """ImageNet weights of the backbone: a .params, .pth or .safetensors file, package:NAME for the one in an installed
    package, `timm` (downloads), or none."""
    load_checkpoint: str | None = None
    """A checkpoint, also a published one, whose two networks training starts from."""
    frozen_stages: int = 2
    """The first stages that do not learn: 0 none, 1 conv1a, 2 conv1a and b2, …"""
    freeze_batch_norm: bool = True
    """Keep the backbone's batch norms (statistics and affine) as they were loaded."""

    resize: int = 512
    """Pixels of the short side (resize_mode short) or of both sides (square) before the crop."""
    resize_mode: Literal["short", "square"] = "short"
    """short keeps the aspect ratio."""
    input_size: int = 448
    """Side of the global network's square crop, pixels."""
    crop_size: int = 320
    """Side of the local network's square patches, pixels."""
    num_patches: int = 6
    """Patches a crop."""
    corner_patches: bool = True
    """The first four patches are the crop's corners; the others are at random places."""
    color_jitter: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)
    """Brightness, contrast, saturation, hue."""
    flip: float = 0.0
    """Probability of a mirrored image."""
    mean: tuple[float, float, float] | None = None
    """Mean of the channels, 0..1; default the backbone's own."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the channels; default the backbone's own."""

    cda: Literal["off", "cda", "cda+"] = "off"
    """Copy-paste of foregrounds: off, cda (one random place), cda+ (the place that hides least of the image's own)."""
    cda_bank: str | None = None
    """Folder of foregrounds that scripts/build_foregrounds.py made; default sem_seg_fg/EXP in the project."""
    cda_batch: Literal["pair", "twin"] = "pair"
    """pair: a batch holds each image and its pasted twin, as published; twin: the twins alone."""
    cda_probability: float = 1.0
    """Probability that a twin carries an object; else it is the image, cropped anew."""
    cda_tr: float = 0.2
    """cda+ takes the first place where less than this share of the object hides salient pixels, else the least."""
    cda_rotation: float = 0.0
    """Degrees by which an object is turned, either way; the original CDA takes 90."""
    cda_edge: float = 0.0
    """Pixels over which an object's rim fades in; 0 is a hard edge, as published."""
    cda_min_visible: float = 0.2
    """Share of a pasted object that the crop and its patches must show for its tag to be added."""

    kd_weight: float = 10.0
    """Weight k of the knowledge transfer; 0 trains the global network alone, without a local one."""
    kd_loss: Literal["mse", "cross_entropy", "balanced"] = "mse"
    """Distance between global map and target: mse as published; cross_entropy does not vanish on short schedules."""
    bg_threshold: float = 0.001
    """Local activations up to this do not enter the target (only with saliency)."""
    background_target: Literal["network", "activation", "complement"] = "network"
    """Background of the target: where the local network's own background map exceeds bg_threshold (network, as
    published for VOC), that map itself (activation, as published for COCO), or what the object leaves (complement)."""
    local_cls_weight: float = 1.0
    """Weight of the local network's classification loss."""
    global_cls_weight: float = 0.0
    """Weight of the global network's classification loss."""

    epochs: int = 10
    """Passes over the training list, those before start_epoch among them."""
    start_epoch: int = 0
    """Go on, in a new run, from load_checkpoint with its optimiser, as the epoch of this number, counted from 0."""
    batch_size: int = 3
    """Images a step and process."""
    accumulate: int = 1
    """Batches whose gradients are averaged before a step."""
    lr: float = 0.001
    """Rate of pretrained weights; their biases learn at twice it."""
    new_lr_factor: float = 10.0
    """Factor on the rate of new layers: CAM head, attention, suppression."""
    schedule: Literal["step", "poly"] = "step"
    """step: times decay_factor from each epoch of decay_epochs; poly: polynomial to zero."""
    decay_epochs: tuple[int, ...] = (5,)
    """Epochs, counted from 0, from which the rate is multiplied by decay_factor."""
    decay_factor: float = 0.1
    """See decay_epochs."""
    poly_power: float = 0.9
    """Power of the polynomial schedule."""
    warmup_steps: int = 0
    """Steps over which the rate rises linearly from warmup_factor of itself."""
    warmup_factor: float = 0.01
    """See warmup_steps."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd as published; adamw learns faster where no pretrained weights are loaded."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = True
    """Nesterov momentum."""
    weight_decay: float = 5e-4
    """Of either optimiser."""
    clip_grad: float = 0.0
    """Largest norm of the gradient; 0 leaves it alone."""

    cam_scales: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    """Scales that test_l2g.py uses for this run: factors on the image's size, every one plain and mirrored."""
    cam_base_size: int = 0
    """Pixels of the image's short side at scale 1 when test_l2g.py makes CAMs; 0 is the image's own size."""
    cam_activation: Literal["relu", "softmax"] = "relu"
    """What becomes a CAM: the positive part of the class map as published, or its softmax against the background."""

    seed: int = 0
    """All randomness follows from it."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision."""
    channels_last: bool = False
    """Channels-last memory layout: faster on GPUs with mixed precision."""
    num_workers: int = 2
    """Processes that read images; the samples are the same for any number."""
    resume: bool = False
    """Continue the run where its newest checkpoint stands."""
    save_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch."""
    keep_checkpoints: int = 2
    """Newest epoch checkpoints that are kept, the final one among them."""
    log_every: int = 20
    """Steps between points of the TensorBoard curves."""

    ALIASES: ClassVar[dict[str, str]] = {
        "img_dir": "image_dir",
        "epoch": "epochs",
        "iter_size": "accumulate",
        "patch_size": "num_patches",
        "patch_num": "num_patches",
        "kd_weights": "kd_weight",
        "bg_thr": "bg_threshold",
        "decay_points": "decay_epochs",
        "disp_interval": "log_every",
        "current_epoch": "start_epoch",
        "sem_seg_fg_dir": "cda_bank",
    }

    def __post_init__(self) -> None:
        if self.crop_size > self.input_size or self.input_size > self.resize:
            raise ValueError(
                f"crop_size={self.crop_size}, input_size={self.input_size}, resize={self.resize}: "
                "a patch fits into the crop and the crop into the resized image"
            )
        if self.kd_weight == 0 and self.global_cls_weight == 0:
            raise ValueError("kd_weight and global_cls_weight are both 0: the global network would learn nothing")
        if self.corner_patches and self.num_patches < 4:
            raise ValueError(f"num_patches={self.num_patches}: corner_patches takes four of them; use 4 or more")
        if self.start_epoch and self.load_checkpoint in (None, "none"):
            raise ValueError(f"start_epoch={self.start_epoch}: give --load_checkpoint, the checkpoint to go on from")
        if not 0 <= self.start_epoch < max(self.epochs, 1):
            raise ValueError(f"start_epoch={self.start_epoch}, epochs={self.epochs}: no epoch is left to train")
        if self.cda == "cda+" and self.sal_dir == "none":
            raise ValueError("cda+ chooses places by saliency: train without it with --cda=cda")
        if not (0 <= self.cda_probability <= 1 and 0 <= self.cda_min_visible < 1):
            raise ValueError("cda_probability lies in 0..1, cda_min_visible in 0..1 without 1")
        if self.cda_edge < 0 or self.cda_tr < 0:
            raise ValueError(f"cda_edge={self.cda_edge}, cda_tr={self.cda_tr}: must be 0 or more")
        for name in ("epochs", "batch_size", "accumulate", "num_patches", "lr", "keep_checkpoints"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")


@dataclass(frozen=True)
class CamOptions:
    """Make the multi-scale CAMs of a trained run: runs/EXP/cam/NAME.npz, and exports on request."""

    experiment_name: str = "l2g"
    """The run whose final checkpoint is used."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    checkpoint: str | None = None
    """Another checkpoint file, also a published one; default the run's newest."""
    network: Literal["global", "local"] = "global"
    """Which of the two networks makes the CAMs."""
    dataset: str | None = None
    """Default: the data set that the run was trained on."""
    image_dir: str | None = None
    """Default: the one that the run was trained on, or the --dataset's."""
    test_list: str | None = None
    """List of images with tags; default the training list."""
    scales: tuple[float, ...] | None = None
    """Factors on the image's size, every scale plain and mirrored; default the run's cam_scales."""
    base_size: int | None = None
    """Pixels of the short side at scale 1, 0 for the image's own size; default the run's cam_base_size."""
    activation: Literal["relu", "softmax"] | None = None
    """relu or softmax; default the run's cam_activation."""
    batch_size: int = 1
    """Images of one size that go through the network together (each also mirrored)."""
    save_attention: bool = False
    """Also write ms/attention/NAME_TAG.png."""
    save_irn: bool = False
    """Also write cam_npy_irn/NAME.npy, for the random walk of IRN."""
    save_affinity: bool = False
    """Also write cam_npy_aff/NAME.npy, for the random walk of AffinityNet (PuzzleCAM's form)."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Precision of the network."""
    num_workers: int = 2
    """Processes that read and write images."""
    overwrite: bool = False
    """Make the CAMs again that are there already."""
    update: bool = False
    """Replace CAMs that another checkpoint or other settings gave, and keep the others."""

    ALIASES: ClassVar[dict[str, str]] = {"img_dir": "image_dir", "restore_from": "checkpoint"}


@dataclass(frozen=True)
class ScoreOptions:
    """Score CAMs or labels against masks: all thresholds in one pass over the images."""

    experiment_name: str = "l2g"
    """The run whose CAMs are scored."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    dataset: str | None = None
    """Default: the data set that the run was trained on."""
    mode: Literal["cam", "png", "npy"] = "cam"
    """cam: runs/EXP/cam; png: a folder of label PNGs; npy: a folder of exported CAM dictionaries."""
    pred_dir: str | None = None
    """Folder that is scored; default the run's CAMs (cam), its pseudo labels (png) or its IRN export (npy)."""
    mask_dir: str | None = None
    """Folder of ground-truth masks; default SegmentationClass in the data set."""
    mask_list: str | None = None
    """List of images that are scored; default train.txt in the data set."""
    reference: Literal["masks", "saliency"] | None = None
    """What CAMs are scored against; default masks, where the data set has a list of them (or --mask_list), else
    saliency: the threshold at which the union of the CAMs agrees best with it."""
    saliency_weight: float = 0.0
    """Weight of saliency in the foreground's strength, as gen_gt.py --saliency_weight: 0 is the CAMs alone."""
    sal_dir: str | None = None
    """Folder of saliency maps; default the run's, else Sal in the data set."""
    thresholds: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 16))
    """Background thresholds."""
    num_workers: int = 0
    """Processes; 0 is one a core."""

    ALIASES: ClassVar[dict[str, str]] = {
        "type": "mode",
        "gt_dir": "mask_dir",
        "predict_dir": "pred_dir",
        "list": "mask_list",
    }


@dataclass(frozen=True)
class LabelOptions:
    """Make pseudo labels from CAMs: palette PNGs at the image's size."""

    experiment_name: str = "l2g"
    """The run whose CAMs become labels."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    dataset: str | None = None
    """Default: the data set that the run was trained on."""
    image_dir: str | None = None
    """Folder of images (for --crf and to check sizes); default JPEGImages in the data set."""
    image_list: str | None = None
    """List of images that get labels; default the training list."""
    label_dir: str | None = None
    """Where labels go; default data/NAME/pseudo_seg_labels_EXP in the project."""
    threshold: float | None = None
    """Background where no class exceeds it; default the best one that evaluate.py found."""
    ignore_below: float | None = None
    """Lower end of an ignore band: pixels whose strongest class is between it and the threshold become 255."""
    saliency_weight: float = 0.0
    """A pixel is foreground where this times its saliency and the rest times its strongest CAM exceed the threshold;
    0 is the CAMs alone, as published."""
    sal_dir: str | None = None
    """Folder of saliency maps; default the run's, else Sal in the data set."""
    ignore_disagreement: float | None = None
    """Pixels whose saliency and strongest CAM differ by more than this (0..1) become 255."""
    crf: bool = False
    """Refine the CAMs by a dense CRF first."""
    num_workers: int = 0
    """Processes; 0 is one a core."""
    overwrite: bool = False
    """Make the labels again that are there already."""
    update: bool = False
    """Replace labels that other settings gave, and keep the others."""

    ALIASES: ClassVar[dict[str, str]] = {"img_dir": "image_dir", "thr": "threshold", "t": "threshold"}


@dataclass(frozen=True)
class DrawOptions:
    """Draw a run: CAM heat maps, overlays on the photo, a contact sheet, and on request an HTML report."""

    experiment_name: str = "l2g"
    """The run whose CAMs are drawn."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    dataset: str | None = None
    """Default: the data set that the run was trained on."""
    image_dir: str | None = None
    """Folder of photographs; default JPEGImages in the data set."""
    sal_dir: str | None = None
    """Folder of saliency maps; default Sal in the data set."""
    label_dir: str | None = None
    """Folder of pseudo labels; default data/NAME/pseudo_seg_labels_EXP in the project."""
    mask_dir: str | None = None
    """Folder of ground-truth masks, where there are any; default SegmentationClass in the data set."""
    sheet_images: int = 24
    """Images on the contact sheet."""
    max_images: int = 0
    """Images whose heat maps and overlays are drawn; 0 is all that have CAMs."""
    report: bool = False
    """Also write runs/EXP/report/index.html: scores, curves, options and a gallery, a page that needs nothing else."""
    compare: tuple[str, ...] = ()
    """Runs whose options, curves and scores stand beside this one's in the report."""
    report_images: int = 2000
    """Images in the report's gallery, those with masks or predictions first; 0 is all."""
    prediction_dir: str | None = None
    """Folder of the segmentation network's labels, for the report; default the one that deeplabv2 wrote for EXP."""
    num_workers: int = 0
    """Processes; 0 is one a core."""

    ALIASES: ClassVar[dict[str, str]] = {"img_dir": "image_dir"}

    def __post_init__(self) -> None:
        if not self.report and (self.compare or self.prediction_dir):
            raise ValueError("compare and prediction_dir are for the report: give --report too")
        twice = sorted({n for n in self.compare if (self.experiment_name, *self.compare).count(n) > 1})
        if twice:
            raise ValueError(f"compare={','.join(self.compare)}: {', '.join(twice)} would stand there twice")
        if self.report_images < 0:
            raise ValueError(f"report_images={self.report_images}: give a number of images, or 0 for all")


@dataclass(frozen=True)
class ForegroundOptions:
    """Build the bank of objects that copy-paste augmentation (CDA) pastes, from labels, or import a published one."""

    experiment_name: str = "l2g"
    """The run by whose pseudo labels objects are cut out."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    dataset: str | None = None
    """Default: the data set that the run was trained on."""
    image_dir: str | None = None
    """Folder of images; default: the one that the run was trained on, or the --dataset's."""
    sal_dir: str | None = None
    """Folder of saliency maps; default as for image_dir; `none`, or a data set without: the label is the saliency."""
    label_dir: str | None = None
    """Folder of label PNGs; default data/NAME/pseudo_seg_labels_EXP in the project."""
    train_list: str | None = None
    """List of images, with or without tags, that objects may come from; default as for image_dir."""
    published: str | None = None
    """A published bank, CLASS/NAME.npy with img, seg and sal, that is imported instead; nothing in it is unpickled."""
    published_bgr: bool = False
    """The published images are in OpenCV's order, blue first: look at the colours of --preview."""
    out: str | None = None
    """Where the bank goes; default sem_seg_fg/EXP in the project."""

    min_area: float = 0.10
    """Least share of the image that the object covers."""
    max_area: float = 0.70
    """Largest share of the image that the object covers."""
    min_side: int = 32
    """Least width and height of the object's box, pixels."""
    min_agreement: float = 0.5
    """Least IoU of the object and the salient pixels."""
    min_per_class: int = 20
    """Objects that the image's border cuts are taken only while their class has fewer than this."""

    preview: bool = False
    """Also draw a contact sheet, preview.jpg in the bank."""
    num_workers: int = 0
    """Processes; 0 is one a core."""
    overwrite: bool = False
    """Make the foregrounds again that are there already."""

    ALIASES: ClassVar[dict[str, str]] = {"img_dir": "image_dir"}

    def __post_init__(self) -> None:
        if not 0 <= self.min_area < self.max_area <= 1:
            raise ValueError(
                f"min_area={self.min_area}, max_area={self.max_area}: shares of the image, one under the other, in 0..1"
            )
        if not 0 <= self.min_agreement <= 1:
            raise ValueError(f"min_agreement={self.min_agreement}: an IoU lies in 0..1")
        if self.min_side < 1 or self.min_per_class < 0:
            raise ValueError(
                f"min_side={self.min_side}, min_per_class={self.min_per_class}: give 1 pixel or more, 0 objects or more"
            )
        if self.published and (self.label_dir or self.train_list or self.image_dir or self.sal_dir):
            raise ValueError(
                "published: the bank's own arrays are taken: leave out label_dir, train_list, image_dir, sal_dir"
            )
        if self.published_bgr and not self.published:
            raise ValueError("published_bgr: goes with --published=FOLDER only")
