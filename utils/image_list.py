"""Image lists: one line an image, as an id, an id with tags, or a pair of paths."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image list (one image a line: `NAME tag tag …`, tags counted from 0)")
    entries: dict[str, ImageEntry] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        name = _name_of(fields[0])
        tags = () if _is_path_pair(fields) else _tags_of(fields[1:], num_classes, f"{path}:{number}")
        if name in entries:
            raise ValueError(f"{path}:{number}: {name} is listed twice: each image may stand there once")
        if need_tags and not tags:
            raise ValueError(f"{path}:{number}: {name} has no tags: this stage needs `NAME tag tag …`")
        entries[name] = ImageEntry(name, tags)
    if not entries:
        raise ValueError(f"{path} lists no image")
    return list(entries.values())


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
