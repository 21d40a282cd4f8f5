"""Image lists: one line an image, as an id, an id with tags, or a pair of paths."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils.files.atomic import write_lines
from utils.files.text import read_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class ImageEntry:
    """One listed image. name is the file name without folder and suffix; tags are zero-based class indices."""

    name: str
    tags: tuple[int, ...] = ()


def read_image_list(path: Path, num_classes: int, *, need_tags: bool = False) -> list[ImageEntry]:
    """Reads a list in any of the usual forms; blank lines are skipped.

    `ID`, `ID tag tag …`, `ID.jpg tag …`, `/JPEGImages/ID.jpg /SegmentationClassAug/ID.png`.
    Raises ValueError naming file, line, value and rule; FileNotFoundError where there is no list.
    """
    entries, faults = parse_image_list(path, num_classes, need_tags=need_tags)
    if faults:
        others = f" (and {len(faults) - 1} more: scripts/check_data.py lists all)" if len(faults) > 1 else ""
        raise ValueError(faults[0] + others)
    return entries


def parse_image_list(path: Path, num_classes: int, *, need_tags: bool = False) -> tuple[list[ImageEntry], list[str]]:
    """What read_image_list reads, from the lines without fault, and one message for every line with one.

    Raises FileNotFoundError where there is no list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image list (one image a line: `NAME tag tag …`, tags counted from 0)")
    try:
        lines = read_text(path).splitlines()
    except ValueError as error:
        return [], [str(error)]
    entries: dict[str, ImageEntry] = {}
    faults = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                entry = _parse_line(line.split(), num_classes, f"{path}:{number}", need_tags=need_tags)
                if entry.name in entries:
                    raise ValueError(f"{path}:{number}: {entry.name} is listed twice: each image may stand there once")
                entries[entry.name] = entry
            except ValueError as error:
                faults.append(str(error))
    if not entries and not faults:
        faults.append(f"{path} lists no image")
    return list(entries.values()), faults


def write_image_list(path: Path, entries: Iterable[ImageEntry]) -> None:
    """Writes `NAME tag tag …` a line, whole or not at all. Raises ValueError for a name that would not read back."""
    entries = list(entries)
    for entry in entries:
        if len(entry.name.split()) != 1 or _name_of(entry.name) != entry.name:
            raise ValueError(
                f"{path}: {entry.name!r} cannot be listed: a name has no space, no '/', and ends with no image suffix"
            )
    write_lines(path, (" ".join([entry.name, *map(str, entry.tags)]) for entry in entries))


def _parse_line(fields: list[str], num_classes: int, where: str, *, need_tags: bool) -> ImageEntry:
    name = _name_of(fields[0])
    tags = () if _is_path_pair(fields) else _tags_of(fields[1:], num_classes, where)
    if need_tags and not tags:
        raise ValueError(f"{where}: {name} has no tags: this stage needs `NAME tag tag …`")
    return ImageEntry(name, tags)


def _name_of(field: str) -> str:
    path = PurePosixPath(field)
    return path.stem if path.suffix in IMAGE_SUFFIXES else path.name


def _is_path_pair(fields: list[str]) -> bool:
    return len(fields) == 2 and PurePosixPath(fields[1]).suffix in IMAGE_SUFFIXES


def _tags_of(fields: list[str], num_classes: int, where: str) -> tuple[int, ...]:
    tags = []
    for field in fields:
        if not field.isdigit():
            raise ValueError(f"{where}: {field!r} is not a tag: tags are whole numbers, 0..{num_classes - 1}")
        if int(field) >= num_classes:
            raise ValueError(f"{where}: tag {field} is outside 0..{num_classes - 1}")
        tags.append(int(field))
    return tuple(sorted(set(tags)))
