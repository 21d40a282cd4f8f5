"""Finds the photos in a folder and its subfolders, and converts those that the network cannot read directly."""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from utils.data.photo_files import find_photos
from utils.data.photos import is_plain, write_plain
from utils.errors import UserError
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, to_do
from utils.files.text import first_few


def photos_of(folder: Path, out: Path, *, without: Sequence[Path] = (), num_workers: int = 0) -> dict[str, Path]:
    """Return name -> image for every photo below `folder`, sorted. Names are paths without suffix, `garden/IMG 3`.

    Prints which files are skipped. Photos that are not plain upright JPEGs or PNGs are converted to out/photos. Raises
    UserError if there are no photos, or naming all photos that cannot be opened.
    """
    found = find_photos(folder, without=[out, *without])
    for note in found.notes():
        print(note, file=sys.stderr)
    if not found.photos:
        raise UserError("contains no photos", folder, "photos are JPEG, PNG, WebP, TIFF, …", "give another --image_dir")
    files = _named(found.photos, folder)
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
