"""The options of gen_gt.py."""

from dataclasses import dataclass
from typing import Literal

from utils.config.options.groups import PresetOptions, RunOptions, WorkerOptions
from utils.config.published_flags import FLAGS_OF
from utils.config.valid import CountOrNone, CrfBackend, Fraction, PositiveFraction, Processes


@dataclass(frozen=True)
class LabelDataOptions:
    """Data."""

    dataset: str | None = None
    """Default: the dataset that the run was trained on."""
    image_dir: str | None = None
    """Folder of images (for --crf and to check sizes); default JPEGImages in the dataset."""
    pred_dir: str | None = None
    """Folder of CAMs in any format that evaluate.py reads; default the run's."""
    image_list: str | None = None
    """List of images to label; default the training list."""

    sal_dir: str | None = None
    """Folder of saliency maps; default the run's, else Sal in the dataset."""


@dataclass(frozen=True)
class LabelMethodOptions:
    """Method."""

    threshold: Fraction | None = None
    """Pixels where no class exceeds this are background; default the best threshold found by evaluate.py."""
    ignore_below: Fraction | None = None
    """Lower end of an ignore band: pixels whose strongest class is between it and the threshold become 255."""
    saliency_weight: Fraction = 0.0
    """Weight w of the saliency: a pixel is foreground if w * saliency + (1 - w) * its strongest CAM exceeds the
    threshold; 0 uses only the CAMs, as published."""
    saliency_support: Fraction = 0.0
    """Mean saliency of a tag's surest pixels (CAM above 0.7 of its maximum) at which it uses the whole weight of the
    saliency; at a third of it or less, where the saliency map misses the object, it uses only its CAM. 0: always the
    whole weight."""
    ignore_disagreement: Fraction | None = None
    """Pixels whose saliency and strongest CAM differ by more than this (0..1) become 255."""
    ignore_ambiguous: Fraction | None = None
    """In images with several tags, object pixels whose class's CAM exceeds those of the other tags by less than this
    (0..1) become 255."""
    crf: bool = False
    """Refine the labels with a dense CRF."""
    crf_backend: CrfBackend = "lattice"
    """Implementation of the CRF: lattice (built in) or pydensecrf (the original package, if installed)."""
    segments: str | None = None
    """Folder of class-agnostic segments to which labels are snapped after the CRF: NAME.png (16-bit ids, 0 none) or
    NAME.json (COCO run lengths, the format of SAM's mask generator). scripts/make_segments.py creates such folders."""
    segment_coverage: Fraction = 0.5
    """A segment gets the class, or background, that covers more than this fraction of it."""
    segment_share: PositiveFraction | None = None
    """A segment also gets a class if it contains at least this fraction of the class's pixels; SEPL: 0.85. Default:
    never."""


@dataclass(frozen=True)
class LabelOutputOptions:
    """Output."""

    label_dir: str | None = None
    """Folder for the labels; default data/NAME/pseudo_seg_labels_EXP in the project."""
    label_form: Literal["palette", "grey"] = "palette"
    """palette: PNGs with VOC's colours; grey: the same indices for readers that ignore palettes (imageio, OpenCV)."""
    overwrite: bool = False
    """Overwrite existing labels."""
    update: bool = False
    """Replace labels that were made with other settings, and keep the others."""


@dataclass(frozen=True)
class LabelOptions(RunOptions, LabelDataOptions, LabelMethodOptions, LabelOutputOptions, WorkerOptions, PresetOptions):
    """Create pseudo labels from CAMs: indexed PNGs of the image's size."""

    PUBLISHED = FLAGS_OF["gen_gt.py"]


@dataclass(frozen=True)
class ImportLabelsOptions:
    """Import label PNGs from other programs: convert palette, size and names, and check values."""

    labels: str
    """Folder of label PNGs: grey or palette indices (255 is ignored), or VOC's colours. Or annotations: COCO's
    .json, CVAT's .xml, a folder of labelme, Ultralytics, or masks with labelmap.txt."""
    out: str
    """Folder for the labels."""
    dataset: str = "data/voc12"
    """The dataset of the images."""
    image_list: str | None = None
    """List of images to label; default train_cls.txt in the dataset."""
    image_dir: str | None = None
    """Folder of images; default JPEGImages in the dataset."""
    others: str | None = None
    """Folder of labels for images without annotation; those that differ from it are listed in OUT/corrected.txt."""
    file_name: str = "{name}.png"
    """Name of an image's file in `labels`."""
    resize: bool = False
    """Enlarge or reduce labels of another size to their image's (nearest)."""
    overwrite: bool = False
    """Overwrite existing labels, also those of other settings."""
    num_workers: Processes = 0
    """Processes; 0 is one per core."""


@dataclass(frozen=True)
class ExportLabelsOptions(RunOptions, WorkerOptions):
    """Write label PNGs as files of annotation tools and trainers."""

    format: Literal["coco", "labelme", "yolo", "cvat", "masks"] = "coco"
    """coco: instances.json; labelme: a JSON file per photo; yolo: Ultralytics' segmentation dataset; cvat: the XML of
    CVAT for images 1.1; masks: VOC's layout with labelmap.txt."""
    objects: Literal["class", "part"] = "class"
    """class: one annotation per class and photo; part: one per connected area. yolo always has a line per area."""
    min_area: CountOrNone = 0
    """Leave out annotations of fewer pixels; 0 keeps all."""
    label_dir: str | None = None
    """Folder of labels, e.g. labels/ of main.py predict; default the run's pseudo labels."""
    image_dir: str | None = None
    """Folder of their photos; default the run's."""
    dataset: str | None = None
    """The dataset whose classes the labels have; default the run's."""
    pred_dir: str | None = None
    """Folder of CAMs, whose mean over an annotation is its score (coco, cvat); default the run's."""
    out: str | None = None
    """Folder to write; default runs/EXP/export/FORMAT."""
    copy: bool = False
    """Copy photos (yolo); by default they are linked."""
    overwrite: bool = False
    """Replace annotations of other settings in the same folder."""
