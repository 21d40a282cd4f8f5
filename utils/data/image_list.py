"""Image lists: one line per image, as an id, an id with tags, an id with `-` (no class), or a pair of paths."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils.errors import UserError
from utils.files import locate
from utils.files.atomic import write_lines
from utils.files.published_places import published_lists
from utils.files.text import read_text

NO_CLASS = "-"  # in place of tags: none of the classes is in the image
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class ImageEntry:
    """One listed image. name is the file name without folder and suffix; tags are zero-based class indices.

    is_negative: none of the classes is in the image, in contrast to an image whose tags are not known.
    """

    name: str
    tags: tuple[int, ...] = ()
    is_negative: bool = False


def read_image_list(path: Path, num_classes: int, *, need_tags: bool = False) -> list[ImageEntry]:
    """Reads a list in any of the usual forms; blank lines are skipped.

    `ID`, `ID tag tag …`, `ID.jpg tag …`, `ID -` (a negative: none of the classes is in it),
    `/JPEGImages/ID.jpg /SegmentationClassAug/ID.png`.
    Raises UserError that names file, line, value and rule, or the list that is missing.
    """
    entries, faults = parse_image_list(path, num_classes, need_tags=need_tags)
    if faults:
        first = faults[0]
        others = f"{len(faults) - 1} more faults, listed by scripts/check_data.py" if len(faults) > 1 else ""
        raise UserError(first.what, first.where, first.rule, "; ".join(filter(None, (first.remedy, others))))
    return entries


def parse_image_list(
    path: Path, num_classes: int, *, need_tags: bool = False
) -> tuple[list[ImageEntry], list[UserError]]:
    """What read_image_list reads, from the lines without fault, and one error for every line with one."""
    if not path.is_file():
        remedy = "write it, one image a line: `NAME tag tag …`, tags counted from 0"
        also = ", ".join(map(str, published_lists(path, locate.PROJECT_ROOT)))
        return [], [UserError("no such image list", path, f"also checked: {also}", remedy)]
    try:
        lines = read_text(path).splitlines()
    except UserError as error:
        return [], [error]
    entries: dict[str, ImageEntry] = {}
    faults: list[UserError] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                entry = _parse_line(line.split(), num_classes, f"{path}:{number}", need_tags=need_tags)
                if entry.name in entries:
                    raise UserError(f"{entry.name} is listed twice", f"{path}:{number}", "list each image once")
                entries[entry.name] = entry
            except UserError as error:
                faults.append(error)
    if not entries and not faults:
        faults.append(UserError("lists no image", path))
    return list(entries.values()), faults


def write_image_list(path: Path, entries: Iterable[ImageEntry]) -> None:
    """Writes `NAME tag tag …`, for negatives `NAME -`, one image per line, whole or not at all.

    Raises UserError for a name that would not read back.
    """
    entries = list(entries)
    for entry in entries:
        if len(entry.name.split()) != 1 or _name_of(entry.name) != entry.name:
            rule = "a name has no space, no '/', and no image suffix"
            raise UserError(f"{entry.name!r} cannot be listed", path, rule, "rename the image")
    tags = ([NO_CLASS] if entry.is_negative else map(str, entry.tags) for entry in entries)
    write_lines(path, (" ".join([entry.name, *of_image]) for entry, of_image in zip(entries, tags)))


def _parse_line(fields: list[str], num_classes: int, where: str, *, need_tags: bool) -> ImageEntry:
    name = _name_of(fields[0])
    if fields[1:] == [NO_CLASS]:
        return ImageEntry(name, is_negative=True)
    tags = () if _is_path_pair(fields) else _tags_of(fields[1:], num_classes, where)
    if need_tags and not tags:
        rule = f"this step needs `NAME tag tag …`, or `NAME {NO_CLASS}` where none of the classes is in the image"
        raise UserError(f"{name} has no tags", where, rule)
    return ImageEntry(name, tags)


def _name_of(field: str) -> str:
    path = PurePosixPath(field)
    return path.stem if path.suffix in IMAGE_SUFFIXES else path.name


def _is_path_pair(fields: list[str]) -> bool:
    return len(fields) == 2 and PurePosixPath(fields[1]).suffix in IMAGE_SUFFIXES


def _tags_of(fields: list[str], num_classes: int, where: str) -> tuple[int, ...]:
    tags = []
    for field in fields:
        if not (field.isascii() and field.isdigit() and len(field) <= 9):  # isdigit alone takes ² and 5,000 digits
            shown = field if len(field) <= 40 else f"{field[:40]}…"
            raise UserError(f"{shown!r} is not a tag", where, f"tags are whole numbers, 0..{num_classes - 1}")
        if int(field) >= num_classes:
            raise UserError(f"tag {field}", where, f"tags are 0..{num_classes - 1}")
        tags.append(int(field))
    return tuple(sorted(set(tags)))
