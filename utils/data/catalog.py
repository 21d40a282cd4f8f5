"""What is known about the datasets before they are opened: class names, palette, list names."""

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


# names that other tools list among the classes for what belongs to none, without underscores around them
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
    """What a dataset's folder need not say: its class names in tag order and the prefix of its checkpoints.

    list_sizes: images of its official lists.
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

# VOC's own folder, which the download holds in VOCdevkit/
DEVKIT_FOLDER = "VOC2012"
FOLDER_NAMES = {DEVKIT_FOLDER: "voc12"}

# The published scripts name the datasets so; they open the same folders.
DATASET_ALIASES = {"pascal_voc": "data/voc12", "voc2012": "data/voc12", "mscoco": "data/coco14"}
