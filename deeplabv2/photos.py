"""The photos of a folder as the network can read them: found in subfolders, and converted where they need it."""

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
    """Name -> image of every photo below `folder`, sorted; names are paths without suffix, `garden/IMG 3`.

    What is left out is said. Photos that are no plain upright JPEG or PNG are written to out/photos first. Raises
    UserError where there is no photo, and one that names all that cannot be opened.
    """
    found = find_photos(folder, without=[out, *without])
    for note in found.notes():
        print(note, file=sys.stderr)
    if not found.photos:
        raise UserError("holds no photo", folder, "photos are JPEG, PNG, WebP, TIFF, …", "give another --image_dir")
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
        print(f"{len(todo)} photos are converted to upright JPEGs first: {out / 'photos'}", file=sys.stderr)
    for _ in parallel_map(_convert, todo, num_workers=num_workers, description="converting photos"):
        pass
    return files


def _named(photos: Sequence[Path], folder: Path) -> dict[str, Path]:
    """The photos by path without suffix; those that would share one (a.jpg, a.png) keep their suffix as `a_jpg`."""
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
        raise UserError(f"{first_few(twice)} would have one label file", folder, remedy="rename one of them")
    return {name: path for path, name in names.items()}


def _convert(pair: tuple[Path, Path]) -> None:
    write_plain(*pair, made_from=digest_of(pair[0]))
