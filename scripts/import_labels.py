"""Convert labels of other programs (IRN's ir_label and sem_seg, coloured ones, annotations) to a folder of labels.

python scripts/import_labels.py --labels FOLDER --out data/voc12/pseudo_seg_labels_EXP
python scripts/import_labels.py --labels annotations.xml --dataset=data/mine --out data/mine/corrected --others=FOLDER
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.labels import ImportLabelsOptions
    from utils.config.program import main

    main(ImportLabelsOptions, "scripts.import_labels")

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from utils.annotations.formats import find_format, label_map, read_annotations
from utils.annotations.regions import AnnotatedPhoto
from utils.config.options.labels import ImportLabelsOptions
from utils.data.catalog import IGNORE_INDEX
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import IMAGE_SUFFIXES, read_image_list
from utils.data.images import decode_with_bits, image_or_guess, open_header, read_label, write_label_png
from utils.data.maps import label_of
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.atomic import write_lines
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.parallel import parallel_map
from utils.files.text import first_few
from utils.runs.handing_on import check_apart, check_stored_classes
from utils.runs.inputs import check_present, find_image_dir

SETTINGS_FILE = "label_settings.json"
CORRECTED_FILE = "corrected.txt"
SAME = 0.002  # fraction of the pixels in which an annotation may differ and is no correction


def run(options: ImportLabelsOptions) -> Path:
    """Write the label of every listed image. Returns their folder. Raises UserError naming inconsistent files."""
    data, source, folder = open_dataset(options.dataset), existing_path(options.labels, "--labels"), Path(options.out)
    others = existing_path(options.others, "--others") if options.others else None
    check_apart(folder, "--out", labels=source, others=others)
    if others is not None:
        check_stored_classes(others, data.classes)
    if find_format(source):
        return import_annotations(options, data, source, folder)
    if options.others:
        raise UserError("--others", rule="it completes annotations", remedy="leave it out: --labels holds PNGs")
    if "{name}" not in options.file_name:
        raise UserError(options.file_name, "--file_name", "expected a name with {name}")
    listing = existing_path(options.image_list, "--image_list") if options.image_list else data.train_list
    image_dir = find_image_dir(data, options.image_dir)
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    jobs = [
        (source / options.file_name.replace("{name}", name), image_or_guess(image_dir, name), folder / f"{name}.png")
        for name in names
    ]
    check_present([label for label, _, _ in jobs], "labels", f"check --labels, --file_name and the list ({listing})")
    check_present([image for _, image, _ in jobs], "images", f"check --image_dir and the list ({listing})")
    settings = {
        "imported": str(source),
        "file_name": options.file_name,
        "resize": options.resize,
        "classes": list(data.classes),
    }
    record = FolderSettings(folder / SETTINGS_FILE, "*.png", "labels", "scripts/import_labels.py", "--out")
    with hold(folder):
        record.check(settings, may_replace=options.overwrite)
        record.start(settings)
        convert = partial(import_label, num_classes=len(data.classes), resize=options.resize)
        for _ in parallel_map(convert, jobs, num_workers=options.num_workers, description="importing labels"):
            pass
    print(f"{len(jobs)} labels written: {folder}")
    return folder


def import_annotations(options: ImportLabelsOptions, data: Dataset, source: Path, folder: Path) -> Path:
    """Writes the label of every listed image, from its annotation or else from --others, and a list of those that
    differ from --others. Raises UserError naming what does not fit.
    """
    listing = existing_path(options.image_list, "--image_list") if options.image_list else data.train_list
    image_dir = find_image_dir(data, options.image_dir)
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    others = existing_path(options.others, "--others") if options.others else None
    annotated: dict[str, AnnotatedPhoto] = {}
    for photo in read_annotations(source):
        if known := annotated.get(_stem(photo.file)):
            what = f"{known.file} and {photo.file} are both image {_stem(photo.file)}"
            raise UserError(what, source, "each image has one annotation", "remove one of them")
        annotated[_stem(photo.file)] = photo
    bare = [photo.where for photo in annotated.values() if any(shape.extent != "region" for shape in photo.shapes)]
    if bare:
        what = f"{len(bare)} images have shapes that are no outlines: boxes, tags, points or lines ({first_few(bare)})"
        raise UserError(what, source, "a label needs the objects' pixels", "draw outlines, or remove these shapes")
    if absent := sorted(set(annotated) - set(names)):
        what = f"names {len(absent)} images that are not in {listing} ({first_few(absent)})"
        raise UserError(what, source, remedy="give --image_list, or remove them")
    jobs = [
        AnnotationJob(
            name,
            image_or_guess(image_dir, name),
            folder / f"{name}.png",
            annotated.get(name),
            others / f"{name}.png" if others else None,
        )
        for name in names
    ]
    check_present([job.image for job in jobs], "images", f"check --image_dir and the list ({listing})")
    kept = [job.other for job in jobs if job.annotated is None]
    if others is None and kept:
        what = f"annotates {len(annotated)} of {len(names)} images"
        raise UserError(what, source, remedy="give --others, a folder of labels of all images")
    check_present([path for path in kept if path], "labels", "check --others")
    settings = {"imported": str(source), "others": str(others), "classes": list(data.classes)}
    record = FolderSettings(folder / SETTINGS_FILE, "*.png", "labels", "scripts/import_labels.py", "--out")
    with hold(folder):
        record.check(settings, may_replace=options.overwrite)
        record.start(settings)
        convert = partial(import_annotation, classes=data.classes)
        description = "importing annotations"
        differing = list(parallel_map(convert, jobs, num_workers=options.num_workers, description=description))
        corrected = [name for name, differs in zip(names, differing) if differs]
        write_lines(folder / CORRECTED_FILE, corrected)
    print(f"{len(jobs)} labels written, {len(corrected)} of them differ from the others: {folder / CORRECTED_FILE}")
    return folder


def _stem(file: str) -> str:
    path = PurePosixPath(file.replace("\\", "/"))
    return path.stem if path.suffix in IMAGE_SUFFIXES else path.name


@dataclass(frozen=True)
class AnnotationJob:
    """An image, the label to write, and what it is made from: its annotation, where it has one, or its other label."""

    name: str
    image: Path
    label: Path
    annotated: AnnotatedPhoto | None
    other: Path | None


def import_annotation(job: AnnotationJob, *, classes: Sequence[str]) -> bool:
    """Writes one label -> whether the annotation differs from the other label, which is else kept as it is."""
    other = read_label(job.other) if job.other and job.other.is_file() else None
    if job.annotated is None:
        assert other is not None
        write_label_png(job.label, other)
        return False
    width, height = open_header(job.image).size
    stated, where = job.annotated.size or (height, width), job.annotated.where
    if stated != (height, width):
        raise UserError(f"is of {stated[1]}x{stated[0]} pixels, its image {width}x{height}", where)
    values = {name: number for number, name in enumerate(classes, start=1)}
    if strange := set(job.annotated.labels) - set(values):
        raise UserError(f"has the label {sorted(strange)[0]!r}", where, f"labels are {first_few(classes)}")
    label = label_map(job.annotated, values, (height, width))
    if other is not None and other.shape == label.shape:
        # annotations hold no ignored pixels, and polygons may differ by some pixels of an edge
        compared = np.where(other == IGNORE_INDEX, 0, other)
        if (compared != label).mean() <= SAME:
            write_label_png(job.label, other)
            return False
    write_label_png(job.label, label)
    return True


def import_label(job: tuple[Path, Path, Path], *, num_classes: int, resize: bool) -> None:
    """Check and write one label. job: (label, image, file to write). Raises UserError naming the label."""
    source, image, target = job
    label = read_indices(source)
    strange = [int(value) for value in np.unique(label) if num_classes < value < IGNORE_INDEX]
    if strange:
        raise UserError(f"contains {strange[0]}", source, f"expected labels in 0..{num_classes} or {IGNORE_INDEX}")
    size = open_header(image).size
    if label.shape != size[::-1]:
        if not resize:
            what = f"is {label.shape[1]}x{label.shape[0]}, its image {size[0]}x{size[1]}"
            raise UserError(what, source, "expected equal sizes", "add --resize")
        label = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    write_label_png(target, label)


def read_indices(path: Path) -> np.ndarray:
    """Read class indices (H, W) uint8 from a grey or palette PNG, or one in VOC's colours. Raises UserError."""
    image, bits = decode_with_bits(path)
    if image.mode not in ("RGB", "RGBA"):
        return label_of(image, path, bits)[0]
    pixels = np.asarray(image.convert("RGB"), np.int64) @ [1 << 16, 1 << 8, 1]
    codes = PALETTE.astype(np.int64) @ [1 << 16, 1 << 8, 1]
    order = np.argsort(codes)
    found = order[np.searchsorted(codes, pixels, sorter=order).clip(max=len(codes) - 1)]
    if (codes[found] != pixels).any():
        raise UserError("contains colours that are not VOC's", path, "expected indices, or colours of the palette")
    return found.astype(np.uint8)
