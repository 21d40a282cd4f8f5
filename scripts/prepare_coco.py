"""Create data/coco14 from MS COCO 2014: links to the images, label maps from the instances, lists with tags.

python scripts/prepare_coco.py --coco coco
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import PrepareCocoOptions
    from utils.config.program import main

    main(PrepareCocoOptions, "scripts.prepare_coco")

from functools import partial

from scripts.prepare.coco_masks import AnnotatedImage, label_map, read_instances
from utils.config.options.prepare import PrepareCocoOptions
from utils.data import catalog
from utils.data.image_list import ImageEntry, write_image_list
from utils.data.images import open_complete, write_label_png
from utils.errors import UserError
from utils.files.atomic import write_lines
from utils.files.linking import link_all
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of
from utils.files.text import first_few
from utils.runs.inputs import check_present, list_sizes, next_steps

# folder of images -> its lists: of tags, of masks
LISTS = {
    "train2014": (catalog.TRAIN_TAGS, catalog.TRAIN_MASKS),
    "val2014": (catalog.VAL_TAGS, catalog.VAL_MASKS),
}
SETTINGS_FILE = "mask_settings.json"


def run(options: PrepareCocoOptions) -> Path:
    """Link the images with annotations, create the missing masks, then the lists. Returns the folder.

    Raises UserError, before anything is written, naming inconsistent files.
    """
    out, coco = Path(options.out).absolute(), existing_path(options.coco, "--coco")
    _check_pieces(coco)
    record = FolderSettings(
        out / catalog.MASK_FOLDER / SETTINGS_FILE, "*.png", "masks", "scripts/prepare_coco.py", "--out"
    )
    annotations = [coco / _annotation_file(split) for split in LISTS]
    settings = {"crowd": options.crowd, "annotations": digest_of(*annotations)}
    record.check(settings, may_replace=options.overwrite)
    splits = {split: read_instances(coco / _annotation_file(split)) for split in LISTS}
    named = [{image.name for image in images} for images in splits.values()]
    if both := sorted(named[0] & named[1]):
        what = f"names {len(both)} images that the other split names as well ({first_few(both)})"
        raise UserError(what, coco / _annotation_file("val2014"), "both are linked into one folder", "unpack it again")
    sources: dict[Path, Path] = {}
    for split, images in splits.items():
        files = [coco / split / image.file_name for image in images]
        check_present(files, "images", f"unpack {split}.zip again")
        _check_images(images, files, coco / _annotation_file(split), num_workers=options.num_workers)
        sources |= {out / catalog.IMAGE_FOLDER / file.name: file for file in files}
    with hold(out):
        link_all(sources, copy=options.copy, num_workers=options.num_workers, description="linking images")
        record.start(settings)
        _make_masks([*splits["train2014"], *splits["val2014"]], out / catalog.MASK_FOLDER, options)
        write_lines(out / catalog.CLASSES_FILE, catalog.COCO_CLASSES)
        for split, images in splits.items():
            tags, masks = LISTS[split]
            write_image_list(out / masks, [ImageEntry(image.name) for image in images])
            write_image_list(out / tags, [ImageEntry(image.name, image.tags) for image in images])
    print(f"{out}: {'copies' if options.copy else 'links'} of {coco}", *list_sizes(out, catalog.COCO14), sep="\n  ")
    print(next_steps(out))
    return out


def _annotation_file(split: str) -> str:
    return f"annotations/instances_{split}.json"


def _check_pieces(coco: Path) -> None:
    missing = [piece for split in LISTS for piece in (split, _annotation_file(split)) if not (coco / piece).exists()]
    if missing:
        remedy = "unpack train2014.zip, val2014.zip and annotations_trainval2014.zip there"
        raise UserError(f"{coco} is missing {', '.join(missing)}", "--coco", remedy=remedy)


def _check_images(images: list[AnnotatedImage], files: list[Path], listing: Path, *, num_workers: int) -> None:
    """Raise UserError if images cannot be read, or differ in size from their annotations."""
    pairs = list(zip(images, files))
    look = parallel_map(_problem_of, pairs, num_workers=num_workers, description="checking images")
    if wrong := [problem for problem in look if problem]:
        remedy = "unpack the images again, or fix the annotations"
        raise UserError(f"does not fit {len(wrong)} images: {first_few(wrong)}", listing, remedy=remedy)


def _problem_of(pair: tuple[AnnotatedImage, Path]) -> str | None:
    image, file = pair
    try:
        width, height = open_complete(file).size
    except UserError as error:
        return f"{file.name} {error.what}"
    if (width, height) == (image.width, image.height):
        return None
    return f"{file.name} is {width}x{height}, annotated as {image.width}x{image.height}"


def _make_masks(images: list[AnnotatedImage], folder: Path, options: PrepareCocoOptions) -> None:
    todo = [image for image in images if not (folder / f"{image.name}.png").is_file()]
    make = partial(_make_mask, folder=folder, crowd=options.crowd)
    for _ in parallel_map(make, todo, num_workers=options.num_workers, description="making masks"):
        pass
    print(f"{len(todo)} masks written, {len(images) - len(todo)} kept: {folder}")


def _make_mask(image: AnnotatedImage, *, folder: Path, crowd: str) -> None:
    write_label_png(folder / f"{image.name}.png", label_map(image, crowd=crowd))
