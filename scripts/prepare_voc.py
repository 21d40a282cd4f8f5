"""Create data/voc12 from PASCAL VOC 2012 and SBD (for 10,582 training images): folders, masks, lists with tags.

python scripts/prepare_voc.py --voc VOCdevkit/VOC2012 --sbd benchmark_RELEASE
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import PrepareVocOptions
    from utils.config.program import main

    main(PrepareVocOptions, "scripts.prepare_voc")

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from scripts.prepare.voc_devkit import ANNOTATION_FOLDER, SPLIT_FOLDER, find_sbd, find_voc, read_box_tags, read_sbd_mask
from utils.config.options.prepare import PrepareVocOptions
from utils.data import catalog
from utils.data.image_list import ImageEntry, read_image_list, write_image_list
from utils.data.images import image_files, write_label_png
from utils.errors import UserError
from utils.files.atomic import write_lines
from utils.files.disk import remove_file
from utils.files.linking import link_all, link_folder
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.parallel import parallel_map
from utils.files.text import first_few
from utils.runs.inputs import check_present, list_sizes, next_steps


@dataclass(frozen=True)
class _Splits:
    """Names of the images of each list. aug is empty without SBD, test if it was not downloaded."""

    train: list[str]
    val: list[str]
    aug: list[str]
    test: list[str]

    @property
    def tagged(self) -> list[str]:
        """The images that the classifier trains on."""
        return self.aug or self.train


def run(options: PrepareVocOptions) -> Path:
    """Create the folders, then the lists. Returns the dataset's folder. Existing files are kept.

    Raises UserError, before anything is written, naming missing or inconsistent files.
    """
    out = Path(options.out).absolute()
    voc = find_voc(existing_path(options.voc, "--voc"))
    sbd = find_sbd(existing_path(options.sbd, "--sbd")) if options.sbd else None
    aug = existing_path(options.aug, "--aug") if options.aug else None
    splits = _splits(voc, _aug_names(sbd, aug))
    for folder, suffix in ((catalog.IMAGE_FOLDER, "jpg"), (catalog.MASK_FOLDER, "png")):
        files = [voc / folder / f"{name}.{suffix}" for name in (*splits.train, *splits.val)]
        check_present(files, "files", "unpack VOC 2012 again")
    tags = _tags(voc, [*splits.tagged, *splits.val], num_workers=options.num_workers)
    with hold(out):
        for folder in (catalog.IMAGE_FOLDER, catalog.MASK_FOLDER):
            link_folder(voc / folder, out / folder, copy=options.copy, num_workers=options.num_workers)
        masks = out / catalog.AUG_MASK_FOLDER
        if aug:
            link_folder(aug, masks, copy=options.copy, num_workers=options.num_workers)
        elif sbd:
            _convert_sbd(sbd, voc, masks, splits, copy=options.copy, num_workers=options.num_workers)
        _write_lists(out, splits, tags)
    print(f"{out}: {'copies' if options.copy else 'links'} of {voc}", *list_sizes(out, catalog.VOC12), sep="\n  ")
    if not splits.aug:
        print("  the training list is VOC's train; the published runs train on train_aug, which needs --sbd")
    print(next_steps(out))
    return out


def _names(path: Path) -> list[str]:
    return [entry.name for entry in read_image_list(path, len(catalog.VOC_CLASSES))]


def _aug_names(sbd: Path | None, aug: Path | None) -> set[str]:
    """Return the names of the images with SBD masks."""
    if aug:
        names = set(image_files(aug))
        if not names:
            raise UserError(f"{aug} contains no masks", "--aug", remedy="give the folder of the PNGs with --aug")
        return names
    return {*_names(sbd / "train.txt"), *_names(sbd / "val.txt")} if sbd else set()


def _splits(voc: Path, sbd_names: set[str]) -> _Splits:
    """Read VOC's lists. Prints SBD's images that are missing from VOC. Raises UserError if VOC's lists overlap."""
    train, val = (_names(voc / SPLIT_FOLDER / f"{split}.txt") for split in ("train", "val"))
    common = sorted(set(train) & set(val))
    if common:
        raise UserError(
            f"{first_few(common)} are in train.txt and val.txt", voc / SPLIT_FOLDER, remedy="unpack VOC again"
        )
    there = image_files(voc / catalog.IMAGE_FOLDER)
    missing = sorted(sbd_names - set(there))
    if missing:
        print(f"skipped: {len(missing)} images of SBD that are missing from {voc} ({first_few(missing)})")
    aug = sorted({*sbd_names, *train} - {*val, *missing}) if sbd_names else []
    return _Splits(train, val, aug, _test_names(voc, there))


def _test_names(voc: Path, there: Iterable[str]) -> list[str]:
    listing = voc / SPLIT_FOLDER / "test.txt"
    remedy = "to score test images, unpack VOC2012test.tar (from VOC's evaluation server) over VOCdevkit"
    if not listing.is_file():
        print(f"no {catalog.TEST_IMAGES}: {listing} is missing: {remedy}")
        return []
    names = _names(listing)
    missing = sorted(set(names) - set(there))
    if missing:
        print(f"no {catalog.TEST_IMAGES}: {len(missing)} of {len(names)} test images are missing: {remedy}")
        return []
    return names


def _tags(voc: Path, names: list[str], *, num_workers: int) -> dict[str, tuple[int, ...]]:
    """Read the tags from the box annotations. Raises UserError naming images without any."""
    files = [voc / ANNOTATION_FOLDER / f"{name}.xml" for name in names]
    check_present(files, "annotations", "unpack VOC 2012 again: its tags are read from them")
    read = parallel_map(read_box_tags, files, num_workers=num_workers, description="reading annotations")
    tags = dict(zip(names, read))
    empty = [name for name, found in tags.items() if not found]
    if empty:
        raise UserError(f"{len(empty)} images have no objects ({first_few(empty)})", voc / ANNOTATION_FOLDER)
    return tags


def _convert_sbd(sbd: Path, voc: Path, masks: Path, splits: _Splits, *, copy: bool, num_workers: int) -> None:
    """Create SegmentationClassAug: VOC's own mask if there is one, else SBD's."""
    own = image_files(voc / catalog.MASK_FOLDER)
    names = [*splits.aug, *splits.val]
    sources = {masks / f"{name}.png": own[name] for name in names if name in own}
    files = [sbd / "cls" / f"{name}.mat" for name in names if name not in own]
    check_present(files, "masks of SBD", "unpack benchmark.tgz again")
    link_all(sources, copy=copy, num_workers=num_workers, description="VOC's own masks")
    todo = [file for file in files if not (masks / f"{file.stem}.png").is_file()]
    convert = partial(_convert_mask, folder=masks)
    for _ in parallel_map(convert, todo, num_workers=num_workers, description="converting SBD"):
        pass


def _convert_mask(file: Path, *, folder: Path) -> None:
    write_label_png(folder / f"{file.stem}.png", read_sbd_mask(file))


def _write_lists(out: Path, splits: _Splits, tags: dict[str, tuple[int, ...]]) -> None:
    write_lines(out / catalog.CLASSES_FILE, catalog.VOC_CLASSES)
    lists = {
        catalog.TRAIN_MASKS: splits.train,
        catalog.VAL_MASKS: splits.val,
        catalog.AUG_IMAGES: splits.aug,
        catalog.TEST_IMAGES: splits.test,
    }
    for name, names in lists.items():
        if names:
            write_image_list(out / name, [ImageEntry(n) for n in names])
        else:
            remove_file(out / name)
    for name, names in ((catalog.VAL_TAGS, splits.val), (catalog.TRAIN_TAGS, splits.tagged)):
        write_image_list(out / name, [ImageEntry(n, tags[n]) for n in names])
