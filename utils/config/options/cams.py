"""The options of test_l2g.py."""

from dataclasses import dataclass
from typing import Literal

from utils.config.options.groups import PresetOptions, RunOptions, WorkerOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import BatchSizeOrOwn, Device, Factors, LoaderWorkers, PixelsOrOwn, Precision
from utils.errors import UserError


@dataclass(frozen=True)
class CamDataOptions:
    """Data."""

    checkpoint: str | None = None
    """Another checkpoint, own or published; default the run's newest."""
    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    image_dir: str | None = None
    """Default: the run's, or that of --dataset."""
    test_list: str | None = None
    """List of images with tags; default the training list."""


@dataclass(frozen=True)
class CamMethodOptions:
    """Method."""

    network: Literal["global", "local"] = "global"
    """Which of the two networks computes the CAMs."""
    scales: Factors | None = None
    """Factors on the image's size; each scale is used plain and mirrored; default the run's cam_scales."""
    base_size: PixelsOrOwn | None = None
    """Pixels of the short side at scale 1, 0 for the image's own size; default the run's cam_base_size."""
    activation: Literal["relu", "softmax"] | None = None
    """relu or softmax; default the run's cam_activation."""


@dataclass(frozen=True)
class CamMachineOptions:
    """Machine."""

    batch_size: BatchSizeOrOwn = 0
    """Images of equal size per forward pass (each also mirrored); 0 is 4 on CUDA, 1 on a CPU."""
    device: Device = "auto"
    """auto (CUDA if there is one), cpu, cuda."""
    amp: Precision = "off"
    """Precision of the network; auto: bf16 if the device supports it, else off."""
    tf32: bool = True
    """On CUDA, use TF32 (10-bit mantissas) for matrix products and convolutions; false: full float32."""
    num_workers: LoaderWorkers = 2
    """Processes that read and write images."""


@dataclass(frozen=True)
class CamOutputOptions:
    """Output."""

    save_attention: bool = False
    """Also write ms/attention/NAME_TAG.png."""
    save_irn: bool = False
    """Also write cam_npy_irn/NAME.npy, for the random walk of IRN."""
    save_affinity: bool = False
    """Also write cam_npy_aff/NAME.npy, for the random walk of AffinityNet (PuzzleCAM's format)."""
    save_psa: bool = False
    """Also write cam_npy/NAME.npy, {tag: (H, W)}, the format that PSA's AffinityNet reads."""
    overwrite: bool = False
    """Overwrite existing CAMs."""
    update: bool = False
    """Replace CAMs that were made with another checkpoint or other settings, and keep the others."""


@dataclass(frozen=True)
class CamOptions(RunOptions, CamDataOptions, CamMethodOptions, CamOutputOptions, CamMachineOptions, PresetOptions):
    """Compute multi-scale CAMs with a trained run: runs/EXP/cam/NAME.npz, and exports on request."""

    PUBLISHED = FLAGS_OF["test_l2g.py"]


@dataclass(frozen=True)
class MeanCamsOptions(RunOptions, WorkerOptions):
    """Average the CAMs of several classifiers of the same images, for evaluate.py and gen_gt.py --pred_dir."""

    pred_dir: str | None = None
    """Folder of CAMs in any format that evaluate.py reads; default the run's."""
    other_dirs: tuple[str, ...] = ()
    """Folders of the other classifiers' CAMs, such as runs/mine_linear/cam; all classifiers have the same weight."""
    out: str = ""
    """Folder for the means, NAME.npz."""
    image_list: str | None = None
    """List of images with tags; default the training list."""
    update: bool = False
    """Replace means of other CAMs, and keep those of the same."""

    def __post_init__(self) -> None:
        for name in ("other_dirs", "out"):
            if not getattr(self, name):
                raise UserError("is not given", f"--{name}", "expected further folders of CAMs, and one for the means")
