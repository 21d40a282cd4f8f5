"""Make a data set of one's own photos: JPEGImages, classes.txt, train_cls.txt; masks and saliency maps where given.

python scripts/prepare_own.py --images photos --tags photos.csv --out data/mine      file,tags: a line a photo
python scripts/prepare_own.py --images photos --out data/mine                        one folder a tag
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the imports below, which --help and a mistyped option do not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only
    from utils.config.options.prepare import PrepareOwnOptions
    from utils.config.program import main

    main(PrepareOwnOptions, "scripts.prepare_own")

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from PIL import ImageOps

from scripts.prepare.linking import place_all
from scripts.prepare.own_data import Photo, by_name, find_photos, tag_problem, tags_from_csv, tags_from_folders
from utils.config.options.prepare import PrepareOwnOptions
from utils.data import catalog
from utils.data.check import ImageFiles, ImageReport, look_at, summary
from utils.data.image_list import ImageEntry, write_image_list
from utils.data.images import decode, write_image
from utils.errors import UserError
from utils.files.atomic import atomic_path, write_lines
from utils.files.disk import remove_file
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.files.text import first_few, read_text
from utils.runs.inputs import next_steps

SOURCES_FILE = "names.csv"
JPEG_QUALITY = 95


@dataclass(frozen=True)
class _Item:
    """A photo with tags and its further files."""

    photo: Photo
    files: ImageFiles


def run(options: PrepareOwnOptions) -> Path:
    """Reads everything, then makes the data set and returns its folder; what is there already is kept.

    Photos without tags are left out and counted. Raises one UserError that names all that is wrong before anything
    is written.
    """
    folder, out = existing_path(options.images, "--images"), Path(options.out).expanduser().absolute()
    # masks may lie below the photos; they are none
    other = [out, *(existing_path(given, "folder") for given in (options.masks, options.saliency) if given)]
    photos, problems = _photos(folder, options.tags, without=other)
    tagged = [photo for photo in photos if photo.tags]
    classes, wrong = _classes(tagged, options.classes)
    problems += wrong
    items, wrong = _with_files(tagged, options)
    problems += wrong
    _stop(problems)
    look = partial(_look_at, num_classes=len(classes))
    reports = list(parallel_map(look, items, num_workers=options.num_workers, description="reading photos"))
    _stop(summary([fault for report in reports for fault in report.faults], shown=10))
    turned = {report.name for report in reports if report.turned}
    _place(out, items, turned, copy=options.copy, num_workers=options.num_workers)
    _write_lists(out, folder, items, classes)
    _tell(out, items, classes, len(photos) - len(tagged), turned)
    return out


def _stop(problems: Sequence[str]) -> None:
    if problems:
        raise UserError("nothing was written:\n  " + "\n  ".join(problems))


def _photos(folder: Path, tags: str | None, *, without: Sequence[Path]) -> tuple[list[Photo], list[str]]:
    """Every photo, also those without tags, and what is wrong with names and tags."""
    files, problems = find_photos(folder, without=without)
    if not files:
        raise UserError(f"{folder} holds no JPEG or PNG", "--images")
    if tags is None:
        photos, wrong = tags_from_folders(folder, files)
        return photos, problems + wrong
    photos, wrong = tags_from_csv(existing_path(tags, "--tags"), folder, files)
    _, collisions = by_name([photo.file for photo in photos if photo.tags])
    listed = {photo.file for photo in photos}
    rest = [Photo(file.stem, file, ()) for file in files if file not in listed]
    return photos + rest, problems + wrong + collisions


def _classes(photos: Sequence[Photo], listing: str | None) -> tuple[list[str], list[str]]:
    """Class names in tag order, and what is wrong with them."""
    tags = sorted({tag for photo in photos for tag in photo.tags})
    if listing is None:
        problems = [] if tags else ["no photo has a tag: give --tags, or put the photos into one folder a tag"]
        most = catalog.IGNORE_INDEX - 1
        problems += [f"{len(tags)} tags, but 8-bit masks hold {most} classes: join some"] if len(tags) > most else []
        return tags, problems
    path = existing_path(listing, "--classes")
    classes = [" ".join(line.split()) for line in read_text(path).splitlines() if line.strip()]
    problems = [f"{path}: {name!r} stands there {count} times" for name, count in Counter(classes).items() if count > 1]
    problems += [f"{path}: {problem}" for problem in map(tag_problem, classes) if problem]
    for tag in sorted(set(tags) - set(classes)):
        some = next(photo.file for photo in photos if tag in photo.tags)
        problems.append(f"{path} lacks the tag {tag!r}, e.g. of {some}: add it, or mend the tag")
    return classes, problems


def _with_files(photos: Sequence[Photo], options: PrepareOwnOptions) -> tuple[list[_Item], list[str]]:
    """The photos with their masks and saliency maps, joined by name, and what is wrong with these."""
    maps, problems = _further(options.saliency, "--saliency")
    masks, wrong = _further(options.masks, "--masks")
    problems += wrong + [f"{file}: masks are PNGs" for file in masks.values() if file.suffix.lower() != ".png"]
    names = [photo.name for photo in photos]
    lacking = [name for name in names if name not in maps]
    if maps and lacking:
        problems.append(
            f"--saliency: {len(lacking)} of {len(names)} photos have no map ({first_few(lacking)}): make them, "
            "or leave --saliency out"
        )
    if masks and not set(masks) & set(names):
        problems.append(f"--masks: no mask has a photo's name ({first_few(masks)}; photos: {first_few(names)})")
    items = [_Item(p, ImageFiles(p.name, p.file, maps.get(p.name), masks.get(p.name))) for p in photos]
    return items, problems


def _further(folder: str | None, option: str) -> tuple[dict[str, Path], list[str]]:
    if folder is None:
        return {}, []
    path = existing_path(folder, option)
    files, problems = find_photos(path)
    named, collisions = by_name(files)
    return named, problems + collisions + ([] if files else [f"{option}: {path} holds no JPEG or PNG"])


def _look_at(item: _Item, *, num_classes: int) -> ImageReport:
    return look_at(item.files, num_classes=num_classes, upright=True)


def _place(out: Path, items: Sequence[_Item], turned: set[str], *, copy: bool, num_workers: int) -> None:
    """Links or copies; photos that lie on their side are written upright."""
    sources, sideways = {}, []
    for item in items:
        image = out / catalog.IMAGE_FOLDER / f"{item.files.name}{item.files.image.suffix.lower()}"
        if item.files.name in turned:
            sideways.append((item.files.image, image))
        else:
            sources[image] = item.files.image
        for file, folder in ((item.files.saliency, catalog.SALIENCY_FOLDER), (item.files.mask, catalog.MASK_FOLDER)):
            if file:
                sources[out / folder / f"{item.files.name}{file.suffix.lower()}"] = file
    place_all(sources, copy=copy, num_workers=num_workers, description="placing files")
    todo = [pair for pair in sideways if not _is_newer(*pair)]
    for _ in parallel_map(_write_upright, todo, num_workers=num_workers, description="turning photos"):
        pass


def _is_newer(source: Path, target: Path) -> bool:
    return target.is_file() and target.stat().st_mtime >= source.stat().st_mtime


def _write_upright(pair: tuple[Path, Path]) -> None:
    source, target = pair
    write_image(target, ImageOps.exif_transpose(decode(source)).convert("RGB"), quality=JPEG_QUALITY)


def _write_lists(out: Path, folder: Path, items: Sequence[_Item], classes: Sequence[str]) -> None:
    items = sorted(items, key=lambda item: item.photo.name)
    write_lines(out / catalog.CLASSES_FILE, classes)
    with atomic_path(out / SOURCES_FILE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "file"])
        writer.writerows([item.photo.name, item.photo.file.relative_to(folder).as_posix()] for item in items)
    measured = [ImageEntry(item.photo.name) for item in items if item.files.mask]
    if measured:
        write_image_list(out / catalog.TRAIN_MASKS, measured)
    else:
        remove_file(out / catalog.TRAIN_MASKS)
    tags = [tuple(sorted(classes.index(tag) for tag in item.photo.tags)) for item in items]
    write_lines(out / catalog.AUG_IMAGES, [item.photo.name for item in items])
    write_image_list(out / catalog.TRAIN_TAGS, [ImageEntry(item.photo.name, tag) for item, tag in zip(items, tags)])


def _tell(out: Path, items: Sequence[_Item], classes: Sequence[str], untagged: int, turned: set[str]) -> None:
    counts = Counter(tag for item in items for tag in item.photo.tags)
    masks = sum(item.files.mask is not None for item in items)
    renamed = sum(item.photo.name != item.photo.file.stem for item in items)
    print(f"{out}: {len(items)} photos of {len(classes)} classes, {masks} with masks")
    for name in classes:
        print(f"  {name}: {counts[name]}")
    notes = {
        f"{untagged} photos without tags are left out": untagged,
        f"{renamed} photos are renamed, white space to _ (see {SOURCES_FILE})": renamed,
        f"{len(turned)} photos that lay on their side are written upright": turned,
    }
    for note, is_so in notes.items():
        if is_so:
            print(note)
    print(next_steps(out))
