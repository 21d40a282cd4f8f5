"""Finds photos in folders or by a pattern, and converts those that the network cannot read directly."""

import glob
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from utils.data.photo_files import PHOTO_SUFFIXES, find_photos, is_of_system
from utils.data.photos import is_plain, write_plain
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, to_do
from utils.files.text import first_few
from utils.runs.handing_on import check_apart


def photos_of(given: str, out: Path, *, without: Sequence[Path] = (), num_workers: int = 0) -> dict[str, Path]:
    """Return name -> image for every photo of --image_dir, sorted. Names are paths without suffix, `garden/IMG 3`.

    given: a folder, searched with its subfolders, a photo, or a pattern. frame_2 precedes frame_10. Prints which files
    are skipped. Photos that are not plain upright JPEGs or PNGs are converted to out/photos. Raises UserError if there
    are no photos, if `out` is the folder itself, or naming all photos that cannot be opened.
    """
    if not glob.has_magic(given):
        check_apart(out, "--out", image_dir=Path(given).expanduser())
    folder, photos = _found(given, [out, *without])
    if not photos:
        raise UserError("contains no photos", folder, "photos are JPEG, PNG, WebP, TIFF, …", "give another --image_dir")
    files = _named(photos, folder)
    problems, todo = [], []
    for name, path in files.items():
        try:
            if not is_plain(path):
                todo.append((path, out / "photos" / f"{name}.jpg"))
                files[name] = todo[-1][1]
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{len(problems)} of {len(files)} photos cannot be read ({first_few(problems, 10)})", folder)
    todo = to_do(todo, lambda pair: (pair[1], pair[0]))
    if todo:
        print(f"{len(todo)} photos are first converted to upright JPEGs: {out / 'photos'}", file=sys.stderr)
    for _ in parallel_map(_convert, todo, num_workers=num_workers, description="converting photos"):
        pass
    return files


def _found(given: str, without: Sequence[Path]) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the photos in it."""
    if not glob.has_magic(given) or Path(given).expanduser().exists():
        path = existing_path(given, "--image_dir")
        if path.is_file():
            return path.parent, [path]
        found = find_photos(path, without=without)
        for note in found.notes():
            print(note, file=sys.stderr)
        return path, sorted(found.photos, key=_natural)
    parts = Path(given).expanduser().parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    folder = existing_path(Path(*fixed), "--image_dir")
    skipped = {path.resolve() for path in without}
    pattern = "/".join(parts[len(fixed) :])
    if "**" in pattern:
        find_photos(folder, without=without)  # which refuses folders that cannot be read; glob passes over them
    matching = [folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True)]
    photos = [path for path in matching if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
    photos = [path for path in photos if not skipped & set(path.resolve().parents)]
    of_system = [path for path in photos if is_of_system(path.relative_to(folder))]
    if of_system:
        print(f"skipped: {len(of_system)} photos of system folders ({first_few(map(str, of_system))})", file=sys.stderr)
        photos = [path for path in photos if not is_of_system(path.relative_to(folder))]
    if not photos:
        rule = "the pattern matches no photo"
        raise UserError(given, "--image_dir", rule, "check it: * is any name, ** any number of folders")
    return folder, sorted(photos, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts frame_2 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.as_posix())]


def _named(photos: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Name the photos by path without suffix. Photos that would share a name (a.jpg, a.png) become a_jpg, a_png."""
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in photos:
        stems[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    names = {
        path: stem if len(group) == 1 else f"{stem}_{path.suffix[1:]}"
        for stem, group in stems.items()
        for path in group
    }
    counts = Counter(names.values())
    twice = [str(path) for path, name in names.items() if counts[name] > 1]
    if twice:
        raise UserError(f"{first_few(twice)} would have the same label file", folder, remedy="rename one of them")
    return {name: path for path, name in names.items()}


def _convert(pair: tuple[Path, Path]) -> None:
    write_plain(*pair, made_from=digest_of(pair[0]))
