"""Image lists: one line per image, as an id, an id with tags, an id with `-` (no class), or a pair of paths."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils.errors import UserError
from utils.files import locate
from utils.files.atomic import write_lines
from utils.files.published_places import published_lists
from utils.files.text import read_text

NO_CLASS = "-"  # instead of tags: the image shows none of the classes
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class ImageEntry:
    """One image of a list. name: file name without folder and suffix. tags: zero-based class indices.

    is_negative: the image shows none of the classes, in contrast to an image whose tags are unknown.
    """

    name: str
    tags: tuple[int, ...] = ()
    is_negative: bool = False


def digest_of_list(entries: Iterable[ImageEntry]) -> str:
    """Return a digest of the images' names and tags in their order."""
    lines = (f"{entry.name} {NO_CLASS if entry.is_negative else entry.tags}\n" for entry in entries)
    return hashlib.blake2b("".join(lines).encode(), digest_size=8).hexdigest()


def read_image_list(path: Path, num_classes: int, *, need_tags: bool = False) -> list[ImageEntry]:
    """Read a list in any of the common formats, skipping blank lines.

    `ID`, `ID tag tag …`, `ID.jpg tag …`, `ID -` (a negative: it shows none of the classes),
    `/JPEGImages/ID.jpg /SegmentationClassAug/ID.png`.
    Raises UserError naming file, line, value and rule, or the missing list.
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
    """Like read_image_list, but return the valid entries and one error per invalid line."""
    if not path.is_file():
        remedy = "write it, one image per line: `NAME tag tag …`, tags count from 0"
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
        faults.append(UserError("lists no images", path))
    return list(entries.values()), faults


def write_image_list(path: Path, entries: Iterable[ImageEntry]) -> None:
    """Write `NAME tag tag …`, or `NAME -` for negatives, one image per line, atomically.

    Raises UserError for names that could not be read back.
    """
    entries = list(entries)
    for entry in entries:
        if len(entry.name.split()) != 1 or _name_of(entry.name) != entry.name:
            rule = "names must not contain spaces or '/', or end in an image suffix"
            raise UserError(f"{entry.name!r} cannot be listed", path, rule, "rename the image")
    tags = ([NO_CLASS] if entry.is_negative else map(str, entry.tags) for entry in entries)
    write_lines(path, (" ".join([entry.name, *of_image]) for entry, of_image in zip(entries, tags)))


def _parse_line(fields: list[str], num_classes: int, where: str, *, need_tags: bool) -> ImageEntry:
    name = _name_of(fields[0])
    if fields[1:] == [NO_CLASS]:
        return ImageEntry(name, is_negative=True)
    tags = () if _is_path_pair(fields) else _tags_of(fields[1:], num_classes, where)
    if need_tags and not tags:
        rule = f"this step needs `NAME tag tag …`, or `NAME {NO_CLASS}` if the image shows none of the classes"
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
        if not (field.isascii() and field.isdigit() and len(field) <= 9):  # isdigit alone accepts ² and 5,000 digits
            shown = field if len(field) <= 40 else f"{field[:40]}…"
            raise UserError(f"{shown!r} is not a tag", where, f"expected integers in 0..{num_classes - 1}")
        if int(field) >= num_classes:
            raise UserError(f"tag {field}", where, f"expected tags in 0..{num_classes - 1}")
        tags.append(int(field))
    return tuple(sorted(set(tags)))
