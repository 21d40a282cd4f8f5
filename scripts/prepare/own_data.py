"""Somebody's own photos and their tags, as they come: a CSV file or a folder a tag, any names."""

import csv
import difflib
import filecmp
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.data.image_list import IMAGE_SUFFIXES
from utils.files.text import read_text

SUFFIXES = tuple(sorted({suffix.lower() for suffix in IMAGE_SUFFIXES}))
# what Pillow may read, but the image lists do not know
OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Photo:
    """A photo, where it is, the name it gets in the data set, and its tags' names."""

    name: str
    file: Path
    tags: tuple[str, ...]


def composed(text: str) -> str:
    """The text with one code for an umlaut: some systems write file names with two."""
    return unicodedata.normalize("NFC", text)


def safe_name(stem: str) -> str:
    """The name that a file gets: white space becomes `_`, for the lists split at it, and so the dot of `.jpg` in it."""
    name = "_".join(composed(stem).split())
    suffix = Path(name).suffix
    return f"{name.removesuffix(suffix)}_{suffix[1:]}" if suffix in IMAGE_SUFFIXES else name


def find_photos(folder: Path, *, without: Sequence[Path] = ()) -> tuple[list[Path], list[str]]:
    """Every photo below `folder`, in order, and a message for each image of a format that is not read.

    Hidden files and what lies below the folders `without` are no photos.
    """
    skipped = {path.resolve() for path in without}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_hidden(path, folder) and not skipped & set(path.absolute().parents)
    ]
    wrong = [
        f"{path}: {path.suffix} is not read: save it as JPEG or PNG"
        for path in files
        if path.suffix.lower() in OTHER_IMAGES
    ]
    return [path for path in files if path.suffix.lower() in SUFFIXES], wrong


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def by_name(files: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """The files by the names that they get, and a message for each name that two of them would have."""
    named: dict[str, Path] = {}
    problems = []
    for file in files:
        other = named.setdefault(safe_name(file.stem), file)
        if other != file:
            problems.append(f"{file} and {other} would both be named {safe_name(file.stem)}: rename one of them")
    return named, problems


def tags_from_csv(path: Path, folder: Path, photos: Sequence[Path]) -> tuple[list[Photo], list[str]]:
    """The photos that the file tells about, with or without tags, and a message for every line that is wrong.

    Header `file,tags`; then a line a photo: its path in the folder, and its tags with `;` between.
    """
    known = {composed(file.relative_to(folder).as_posix()): file for file in photos}
    rows = csv.reader(read_text(path).splitlines())
    header = [cell.strip().lower() for cell in next(rows, [])]
    if header != ["file", "tags"]:
        return [], [f"{path}:1: the header is {','.join(header)!r}: it must be file,tags"]
    listed: dict[Path, tuple[str, ...]] = {}
    problems = []
    for row in rows:
        where = f"{path}:{rows.line_num}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != 2:
            problems.append(f"{where}: {len(row)} columns: write file,tag;tag and put quotes around a comma in a name")
            continue
        cell = composed(row[0].strip().replace("\\", "/")).removeprefix("./")
        file = known.get(cell)
        if file is None:
            near = difflib.get_close_matches(cell, known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{where}: {cell!r} is not in {folder}: give its path from there, with suffix{hint}")
            continue
        if file in listed:
            problems.append(f"{where}: {cell!r} is listed twice: write all of its tags on one line, with ; between")
            continue
        listed[file] = _split_tags(row[1])
        problems += [f"{where}: {problem}" for problem in map(tag_problem, listed[file]) if problem]
    return [Photo(safe_name(file.stem), file, tags) for file, tags in listed.items()], problems


def _split_tags(cell: str) -> tuple[str, ...]:
    return tuple(sorted({tag for part in composed(cell).split(";") if (tag := " ".join(part.split()))}))


def tags_from_folders(folder: Path, photos: Sequence[Path]) -> tuple[list[Photo], list[str]]:
    """Photos whose tags are the folders that they stand in: the same photo in two folders has two tags.

    Photos in `folder` itself have none.
    """
    copies: dict[str, list[Path]] = {}
    for file in photos:
        copies.setdefault(safe_name(file.stem), []).append(file)
    result, problems = [], []
    for name, files in copies.items():
        other = next((file for file in files[1:] if not filecmp.cmp(files[0], file, shallow=False)), None)
        if other:
            problems.append(
                f"{other} and {files[0]} would both be named {name}, but are different photos: rename one of them"
            )
        folders = [composed(file.relative_to(folder).parts[0]) for file in files if file.parent != folder]
        tags = tuple(sorted({" ".join(tag.split()) for tag in folders}))
        problems += [f"{folder / tag}: {problem}" for tag in tags if (problem := tag_problem(tag))]
        result.append(Photo(name, files[0], tags))
    return result, list(dict.fromkeys(problems))


def tag_problem(tag: str) -> str | None:
    """Why a tag cannot be a class's name; None where it can."""
    if "/" in tag or "\\" in tag:
        return f"tag {tag!r} has a slash: classes also name folders, so write it without"
    if tag.lower() == "background":
        return "tag 'background' is what belongs to no class: leave it out"
    return None
