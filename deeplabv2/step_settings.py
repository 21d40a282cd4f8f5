"""The options of each step: the settings and its own flags."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from deeplabv2.setting_groups import ExperimentSettings, ViewSettings
from deeplabv2.settings import Settings
from utils.config.options.plan import PlanOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import CrfBackend, Processes
from utils.errors import UserError
from utils.runs.segmentation import SegmentationPaths


@dataclass(frozen=True)
class TrainSettings(Settings, PlanOptions):
    """Train the segmentation network on pseudo labels or any other labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_plan()

    def without_plan(self) -> Settings:
        """Return only the settings, which a training stores and later steps read."""
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})


@dataclass(frozen=True)
class StepSettings(Settings):
    """Label images with a trained network (test), or refine these labels with a dense CRF (crf), and score them."""

    model_path: str | None = None
    """Checkpoint; default the experiment's final one."""
    num_workers: Processes = 0
    """Processes for the CRF, scores and pictures; 0 is one per core."""
    full_size: bool = False
    """Use every image at its own size in the network and the CRF, ignoring IMAGE.SIZE and CRF.SIZE."""
    crf_backend: CrfBackend = "lattice"
    """Implementation of the CRF: lattice (built in) or pydensecrf (the original package, if installed)."""

    PUBLISHED = FLAGS_OF["deeplabv2/main.py test, crf"]

    @staticmethod
    def usual_config(given: Mapping[str, str]) -> Path | None:
        """Return the file with the settings of the training of the experiment that the flags name, if there is one."""
        if "EXP.ID" not in given or "onnx" in given:
            return None
        output_dir = given.get("EXP.OUTPUT_DIR", ExperimentSettings.OUTPUT_DIR)
        run = given.get("EXP.RUN", "null")
        path = SegmentationPaths.of(output_dir, given["EXP.ID"], None if run == "null" else run).training.config
        return path if path.is_file() else None


@dataclass(frozen=True)
class PredictSettings(StepSettings):
    """Segment a folder of images with a trained network."""

    image_dir: str | None = None
    """Folder of photos (or of a video's frames) with its subfolders, one photo, or a pattern in quotes: 'in/*.jpg';
    ** is any number of folders."""
    without: str | None = None
    """Subfolder to skip, e.g. masks."""
    out: str | None = None
    """Folder for labels (palette PNGs), overlays, summary.csv, and the network's logits."""
    onnx: str | None = None
    """A file of main.py export, which is run by onnxruntime instead of the experiment's network, without torch."""
    crf: bool = False
    """Refine the labels with a dense CRF."""
    overwrite: bool = False
    """Replace the output of another network or other settings in the same folder."""

    PUBLISHED = FLAGS_OF["deeplabv2/main.py predict"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folders()
        fixed = {
            "--model_path": self.model_path,
            "--full_size": self.full_size,
            "--TEST.*": ViewSettings() != self.TEST,
        }
        given = [flag for flag, value in fixed.items() if value]
        if self.onnx and given:
            raise UserError(f"--onnx with {given[0]}", rule="the file decides on it", remedy=f"leave out {given[0]}")

    def folders(self) -> tuple[str, str]:
        """Return the values of --image_dir and --out. Raises UserError if one is missing."""
        if self.image_dir is None or self.out is None:
            flag = "--image_dir" if self.image_dir is None else "--out"
            raise UserError(f"{flag} is missing", rule="predict needs a folder of images and one to write to")
        return self.image_dir, self.out


@dataclass(frozen=True)
class ExportSettings(StepSettings):
    """Write a trained network as an ONNX file that takes a photo of any size and returns its labels."""

    out: str | None = None
    """The file to write, NAME.onnx."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.target()
        if ViewSettings() != self.TEST:
            rule = "an exported network sees a photo once"
            raise UserError(
                "--TEST.SCALES or --TEST.MIRROR", rule=rule, remedy="give --TEST.SCALES=1 --TEST.MIRROR=false"
            )

    def target(self) -> Path:
        """The file to write. Raises UserError where --out does not name one."""
        if self.out is None or not self.out.endswith(".onnx"):
            raise UserError(f"--out={self.out}", rule="export writes a file", remedy="give --out=NAME.onnx")
        return Path(self.out).expanduser().absolute()


@dataclass(frozen=True)
class CamSettings(StepSettings):
    """Compute class maps of the training images, restricted to their tags, with a trained network."""

    out: str | None = None
    """Folder for a CAM file per image, which gen_gt.py --pred_dir reads, and the network's logits."""
    overwrite: bool = False
    """Replace the output of another network or other settings in the same folder."""


@dataclass(frozen=True)
class ArchiveSettings(StepSettings):
    """Label the images of a split and pack them for the evaluation server."""

    split: Literal["test", "val"] = "test"
    """Which of DATASET.SPLIT's lists to use."""
    competition: Literal["auto", "comp5", "comp6"] = "auto"
    """comp5: trained only on the challenge's data; comp6: on additional data; auto: comp6 if the name of
    MODEL.INIT_MODEL shows that the initial weights were trained on COCO's masks, else comp5."""
    crf: bool = True
    """Refine the labels with a dense CRF."""
