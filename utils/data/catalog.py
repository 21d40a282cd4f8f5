"""Constants of the known datasets: class names, list names, ignored index."""

from collections.abc import Mapping
from dataclasses import dataclass, field

IGNORE_INDEX = 255

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


# names that other tools list as classes for pixels of no class, without underscores around them
NO_CLASSES = ("background", "ignore", "ignored", "unlabeled", "unlabelled", "void")

IMAGE_FOLDER = "JPEGImages"
SALIENCY_FOLDER = "Sal"
MASK_FOLDER = "SegmentationClass"
AUG_MASK_FOLDER = "SegmentationClassAug"
CLASSES_FILE = "classes.txt"
TRAIN_TAGS = "train_cls.txt"
TRAIN_MASKS = "train.txt"
VAL_TAGS = "val_cls.txt"
VAL_MASKS = "val.txt"
AUG_IMAGES = "train_aug.txt"
TEST_IMAGES = "test.txt"


@dataclass(frozen=True)
class KnownDataset:
    """Facts about a dataset that its folder does not need to state: class names in tag order, checkpoint prefix.

    list_sizes: number of images in its official lists.
    """

    classes: tuple[str, ...]
    checkpoint_prefix: str
    list_sizes: Mapping[str, int] = field(default_factory=dict)


VOC12 = KnownDataset(
    VOC_CLASSES,
    "pascal_voc",
    {TRAIN_MASKS: 1464, VAL_MASKS: 1449, AUG_IMAGES: 10582, TEST_IMAGES: 1456},
)
COCO14 = KnownDataset(COCO_CLASSES, "mscoco", {TRAIN_TAGS: 82081, VAL_TAGS: 40137})
KNOWN_DATASETS = {"voc12": VOC12, "coco14": COCO14}

# VOC's own folder, inside VOCdevkit/ of the download
DEVKIT_FOLDER = "VOC2012"
FOLDER_NAMES = {DEVKIT_FOLDER: "voc12"}

# the datasets' names in the published scripts
DATASET_ALIASES = {"pascal_voc": "data/voc12", "voc2012": "data/voc12", "mscoco": "data/coco14"}
