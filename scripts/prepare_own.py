"""Create a dataset from your own photos: JPEGImages, classes.txt, train_cls.txt, and masks and saliency maps if given.

python scripts/prepare_own.py --images photos --tags photos.csv --out data/mine      one row per photo
python scripts/prepare_own.py --images photos --out data/mine                        one folder per tag
python scripts/prepare_own.py --images photos --tags instances.json --masks instances.json --out data/mine
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import PrepareOwnOptions
    from utils.config.program import main

    main(PrepareOwnOptions, "scripts.prepare_own")

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from scripts.prepare.annotated import DrawnMask, draw, masks_of, rows_of, size_problems
from scripts.prepare.findings import Findings
from scripts.prepare.own_data import Photo, merge_tags, tagged_by_folders, tagged_by_rows, with_negatives
from scripts.prepare.own_files import Item, Placing, place_items
from scripts.prepare.photo_names import PhotoIndex, relative, safe_name
from scripts.prepare.tag_cells import tag_problem, tidy
from scripts.prepare.tag_table import TagRow, read_tag_table
from utils.annotations.formats import find_format
from utils.config.options.prepare import PrepareOwnOptions
from utils.data import catalog
from utils.data.check import ImageFiles, ImageReport, inspect_photo, summary
from utils.data.class_names import spelling_key
from utils.data.image_list import ImageEntry, write_image_list
from utils.data.images import image_files
from utils.data.names_table import SOURCES_FILE
from utils.data.photo_files import find_photos
from utils.errors import UserError
from utils.files.atomic import write_lines
from utils.files.disk import remove_file
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.parallel import parallel_map
from utils.files.text import first_few, read_text
from utils.runs.inputs import next_steps

MOST_CLASSES = catalog.IGNORE_INDEX - 1


def run(options: PrepareOwnOptions) -> Path:
    """Read everything, then create the dataset. Returns its folder. Existing files are kept.

    Photos with unknown tags are read and counted, but are not part of it. Raises one UserError listing all faults
    before anything is written.
    """
    findings = Findings()
    out = Path(options.out).expanduser().absolute()
    folder, photos = _photos(options, out, findings)
    classes = _classes(photos, options.classes, findings)
    photos = merge_tags(photos, classes, findings)
    classes = classes or sorted({tag for photo in photos for tag in photo.tags or ()})
    if len(classes) > MOST_CLASSES:
        findings.wrong(f"{len(classes)} classes, but 8-bit masks allow {MOST_CLASSES}: merge some")
    _check_tags(photos, classes, options.classes, findings)
    annotations = _annotations(options.masks)
    drawn = masks_of(annotations, photos, folder, classes, findings) if annotations else []
    items = _with_files(photos, folder, options, findings, has_annotations=bool(annotations))
    findings.stop()
    look = partial(inspect_item, num_classes=len(classes), max_side=options.max_side)
    reports = list(parallel_map(look, items, num_workers=options.num_workers, description="reading photos"))
    by_name = {report.name: report for report in reports}
    faults = summary([fault for report in reports for fault in report.faults])
    findings.stop([*faults, *size_problems(drawn, {name: report.size for name, report in by_name.items()})])
    learnt = [item for item in items if item.photo.tags is not None]
    placing = Placing(out, folder, options.copy, options.max_side, options.num_workers)
    masked = {item.photo.name for item in learnt if item.files.mask} | {mask.name for mask in drawn}
    with hold(out):
        place_items(placing, learnt, by_name)
        _draw_masks(out, drawn, by_name, options.num_workers)
        _write_lists(out, learnt, classes, masked)
    findings.notes += _changes(reports)
    _print_summary(out, items, classes, len(masked), findings)
    return out


def _annotations(masks: str | None) -> Path | None:
    """The annotation file or folder that --masks names; None for a folder of masks."""
    path = existing_path(masks, "--masks") if masks else None
    return path if path and find_format(path) else None


def _draw_masks(out: Path, masks: Sequence[DrawnMask], reports: Mapping[str, ImageReport], num_workers: int) -> None:
    """Writes the masks of annotations beside the images of the dataset."""
    images = image_files(out / catalog.IMAGE_FOLDER) if masks else {}
    jobs = [
        (mask, size, images[mask.name], out / catalog.MASK_FOLDER / f"{mask.name}.png")
        for mask in masks
        if (size := reports[mask.name].size)
    ]
    for _ in parallel_map(draw, jobs, num_workers=num_workers, description="drawing masks"):
        pass


def _photos(options: PrepareOwnOptions, out: Path, findings: Findings) -> tuple[Path, list[Photo]]:
    """Return the folder and every photo in it with its tags, if known."""
    folder = existing_path(options.images, "--images")
    if not folder.is_dir():
        raise UserError("is not a folder", folder, "--images must be the folder of photos")
    # masks may be in a subfolder of the photos, but are not photos
    others = [existing_path(given, "folder") for given in (options.masks, options.saliency) if given]
    if options.tags and find_format(tagged := existing_path(options.tags, "--tags")) == "masks":
        others.append(tagged)
    # labelme saves its files next to the photos
    other = [out, *(path for path in others if path.is_dir() and path.resolve() != folder.resolve())]
    found = find_photos(folder, without=other)
    findings.notes += found.notes()
    if not found.photos:
        raise UserError(f"{folder} contains no photos", "--images", remedy="give the folder of the photos")
    if options.tags is None:
        photos = tagged_by_folders(folder, found.photos, findings)
    else:
        tags = existing_path(options.tags, "--tags")
        photos = tagged_by_rows(
            partial(_rows, tags, options.separator, findings),
            tags.name,
            folder,
            found.photos,
            skip_missing=options.skip_missing,
            findings=findings,
        )
    if options.negatives is not None:
        inside = folder / options.negatives
        negatives = find_photos(inside if inside.is_dir() else existing_path(options.negatives, "--negatives"))
        by_path = {photo.file.resolve(): photo.file for photo in photos}
        files = [by_path.get(file.resolve(), file) for file in negatives.photos]
        if not files:
            findings.wrong("--negatives contains no photos")
        photos = with_negatives(photos, files, folder, findings, by_folders=options.tags is None)
    renamed = sum(photo.name != photo.file.stem for photo in photos)
    if renamed:
        findings.note(f"{renamed} photos were renamed in the dataset (see {SOURCES_FILE})")
    return folder, photos


def _rows(tags: Path, separator: str | None, findings: Findings, index: PhotoIndex) -> list[TagRow]:
    """What a table or annotations say of each photo."""
    if tags.is_dir() or find_format(tags):
        return rows_of(tags, findings)
    return read_tag_table(tags, separator=separator, is_photo=lambda cell: bool(index.find(cell)), findings=findings)


def _classes(photos: Sequence[Photo], listing: str | None, findings: Findings) -> list[str]:
    """Read the class names from the file --classes, in order; [] without it."""
    if not any(photo.tags for photo in photos):
        findings.wrong("no photo has a tag: give --tags, or put the photos into one folder per tag")
    if listing is None:
        return []
    path = existing_path(listing, "--classes")
    classes = [tidy(line) for line in read_text(path).splitlines() if line.strip()]
    same = Counter(map(spelling_key, classes))
    for name in classes:
        if same[spelling_key(name)] > 1:
            findings.wrong(f"names in {path} are repeated, or differ only in case or spaces", repr(name))
        elif problem := tag_problem(name):
            findings.wrong(f"names in {path} are not valid class names", problem)
    return classes


def _check_tags(photos: Sequence[Photo], classes: Sequence[str], listing: str | None, findings: Findings) -> None:
    """Report tags that are not among the given classes."""
    for tag in sorted({tag for photo in photos for tag in photo.tags or ()} - set(classes)):
        some = next(photo.file for photo in photos if photo.tags and tag in photo.tags)
        findings.wrong(f"tags are missing in {listing} (add them, or fix the tags)", f"{tag!r}, e.g. of {some}")


def _with_files(
    photos: Sequence[Photo], folder: Path, options: PrepareOwnOptions, findings: Findings, *, has_annotations: bool
) -> list[Item]:
    """Return the photos with their masks and saliency maps, matched by name or path."""
    maps = _further(options.saliency, "--saliency", photos, folder, findings)
    mask_dir = None if has_annotations else options.masks
    masks = _further(mask_dir, "--masks", photos, folder, findings)
    learnt = [photo for photo in photos if photo.tags is not None]
    missing = [photo.name for photo in learnt if photo.name not in maps]
    if options.saliency and missing:
        findings.wrong(
            f"--saliency: {len(missing)} of {len(learnt)} photos have no map ({first_few(missing, 10)}): create them, "
            "or omit --saliency"
        )
    if mask_dir and not masks:
        findings.wrong(f"--masks: no mask has a photo's name (photos: {first_few(p.name for p in photos)})")
    for file in masks.values():
        if file.suffix.lower() != ".png":
            findings.wrong("masks are not PNGs", str(file))
    return [
        Item(photo, ImageFiles(photo.name, photo.file))
        if photo.tags is None
        else Item(photo, ImageFiles(photo.name, photo.file, maps.get(photo.name), masks.get(photo.name)))
        for photo in photos
    ]


def _further(
    given: str | None, option: str, photos: Sequence[Photo], folder: Path, findings: Findings
) -> dict[str, Path]:
    """Map a photo's name to its map: the file with its path, else its name in the dataset, else its own name."""
    if given is None:
        return {}
    path = existing_path(given, option)
    files = find_photos(path).photos
    if not files:
        findings.wrong(f"{option}: {path} contains no PNG or JPEG")
    by_path = {file.relative_to(path).with_suffix(""): file for file in files}
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_name[safe_name(file.stem)].append(file)
    stems = Counter(safe_name(photo.file.stem) for photo in photos)
    joined: dict[str, Path] = {}
    for photo in photos:
        own = by_path.get(relative(photo.file, folder).with_suffix(""))
        stem = safe_name(photo.file.stem)
        named = by_name.get(photo.name) or (by_name.get(stem, []) if stems[stem] == 1 else [])
        if own is None and len(named) > 1:
            findings.wrong(f"photos have several files in {option}", f"{named[1]} and {named[0]}")
        if own or named:
            joined[photo.name] = own or named[0]
    unused = set(files) - set(joined.values())
    if unused and joined:
        findings.note(
            f"skipped: {len(unused)} files of {option} match no photo ({first_few(sorted(map(str, unused)))})"
        )
    return joined


def inspect_item(item: Item, *, num_classes: int, max_side: int) -> ImageReport:
    return inspect_photo(item.files, num_classes=num_classes, max_side=max_side)


def _changes(reports: Iterable[ImageReport]) -> list[str]:
    """Return a line per kind of conversion of photos and maps."""
    names: Mapping[str, list[str]] = defaultdict(list)
    for report in reports:
        for change in (*report.changes, *report.readings):
            names[change].append(report.name)
    return [f"{len(photos)} files: {change} ({first_few(photos)})" for change, photos in names.items()]


def _write_lists(out: Path, items: Sequence[Item], classes: Sequence[str], masked: Collection[str]) -> None:
    items = sorted(items, key=lambda item: item.photo.name)
    write_lines(out / catalog.CLASSES_FILE, classes)
    measured = [ImageEntry(item.photo.name) for item in items if item.photo.name in masked]
    if measured:
        write_image_list(out / catalog.TRAIN_MASKS, measured)
    else:
        remove_file(out / catalog.TRAIN_MASKS)
    write_lines(out / catalog.AUG_IMAGES, [item.photo.name for item in items])
    write_image_list(out / catalog.TRAIN_TAGS, [_entry(item.photo, classes) for item in items])


def _entry(photo: Photo, classes: Sequence[str]) -> ImageEntry:
    tags = tuple(sorted(classes.index(tag) for tag in photo.tags or ()))
    return ImageEntry(photo.name, tags, is_negative=photo.is_negative)


def _print_summary(out: Path, items: Sequence[Item], classes: Sequence[str], masks: int, findings: Findings) -> None:
    learnt = [item for item in items if item.photo.tags is not None]
    counts = Counter(tag for item in learnt for tag in item.photo.tags or ())
    negatives = sum(item.photo.is_negative for item in learnt)
    print(
        f"{out}: {len(learnt)} photos of {len(classes)} classes, {negatives} of them negatives (none of the classes), "
        f"{masks} with masks; {len(items) - len(learnt)} photos with unknown tags are only labelled"
    )
    for name in classes:
        print(f"  {name}: {counts[name]}")
    for note in findings.notes:
        print(note)
    print(next_steps(out))
