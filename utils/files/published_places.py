"""Locations in the published code's layout. Each is tried after this project's own location."""

from pathlib import Path

VOC_DEVKIT = "deeplabv2/VOCdevkit/VOC2012"
# path here -> published paths, all relative to the project's folder
_PATHS = {
    "data/weights/ilsvrc-cls_rna-a1_cls1000_ep-0001.params": (
        "models/ilsvrc-cls_rna-a1_cls1000_ep-0001.params",
        "models/resnet38_dict.pth",
    ),
    "data/weights/deeplabv1_resnet101-coco.pth": ("deeplabv2/weights/deeplabv1_resnet101-coco.pth",),
    "data/weights/deeplabv1_resnet101-imagenet.pth": ("deeplabv2/weights/deeplabv1_resnet101-imagenet.pth",),
    "data/voc12": (VOC_DEVKIT,),
}
_LISTS = Path("ImageSets", "SegmentationAug")
# below OUTPUT_DIR/models/ID
FINAL_CHECKPOINT = Path("deeplabv2_resnet101_msc", "train_aug", "checkpoint_final.pth")
PSEUDO_LABELS = "pseudo_seg_labels"


def published_paths(path: Path, root: Path) -> list[Path]:
    """Return the published locations of the input `path` in the project's folder `root`."""
    return [root / place for place in _PATHS.get(path.as_posix(), ())]


def published_lists(path: Path, root: Path) -> list[Path]:
    """Return the published locations of the image list `path`: DeepLab's, evaluate.py's and in VOC's own folder."""
    in_devkit = [root / VOC_DEVKIT / _LISTS / path.name] if path.parent.name == "voc12" else []
    return [path.parent / _LISTS / path.name, path.with_name(f"{path.stem}1.txt"), *in_devkit]


def published_labels(dataset: str, root: Path) -> list[Path]:
    """Return the published locations of a dataset's pseudo labels."""
    return [root / VOC_DEVKIT / PSEUDO_LABELS] if dataset == "voc12" else []


def first_existing(own: Path, others: list[Path]) -> Path:
    """Return `own` if it exists, else the first existing one of `others`, else `own`."""
    return next((path for path in (own, *others) if path.exists()), own)
