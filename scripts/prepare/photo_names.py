"""Which photo a table's row means, and the name that each photo gets in the dataset."""

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from utils.data.image_list import IMAGE_SUFFIXES
from utils.data.photo_files import PHOTO_SUFFIXES

HINTS_FROM = 300  # names that a mistyped one is compared with


def composed(text: str) -> str:
    """The text with one code for an umlaut: some systems write file names with two."""
    return unicodedata.normalize("NFC", text)


def safe_name(stem: str) -> str:
    """The name that a file gets: white space becomes `_`, for the lists split at it, and so the dot of `.jpg` in it."""
    name = "_".join(composed(stem).split())
    suffix = Path(name).suffix
    return f"{name.removesuffix(suffix)}_{suffix[1:]}" if suffix in IMAGE_SUFFIXES else name


def unique_names(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Each photo's name in the dataset: that of its file; where several would have it, with its folders and suffix.

    Names are compared without letter case: some file systems do not distinguish them.
    """
    names = {file: safe_name(file.stem) for file in files}
    for more in (_with_folders, _with_suffix, _with_number):
        groups: dict[str, list[Path]] = defaultdict(list)
        for file, name in names.items():
            groups[name.casefold()].append(file)
        for group in groups.values():
            if len(group) > 1:
                names.update({file: more(file, folder, names[file], number) for number, file in enumerate(group)})
    return names


def _with_folders(file: Path, folder: Path, name: str, number: int) -> str:
    return safe_name("_".join([*relative(file, folder).parent.parts, name]))


def _with_suffix(file: Path, folder: Path, name: str, number: int) -> str:
    return f"{name}_{file.suffix[1:].lower()}"


def _with_number(file: Path, folder: Path, name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def relative(file: Path, folder: Path) -> Path:
    """The photo's path in the folder, or its own where it lies elsewhere (--negatives)."""
    return file.relative_to(folder) if file.is_relative_to(folder) else Path(*file.parts[-2:])


class PhotoIndex:
    """Finds the photos that a table names: by path or the last parts of it, with or without suffix, in any case."""

    def __init__(self, files: Iterable[Path], folder: Path) -> None:
        self.paths = {file: composed(file.relative_to(folder).as_posix()) for file in files}
        self.exact = {path: file for file, path in self.paths.items()}
        self.whole: Mapping[str, list[Path]] = defaultdict(list)  # path, in small letters
        self.tails: Mapping[str, list[Path]] = defaultdict(list)  # last parts of a path, without suffix
        for file, path in self.paths.items():
            self.whole[path.casefold()].append(file)
            for tail in _tails(_stem(path)):
                self.tails[tail].append(file)

    def find(self, cell: str) -> list[Path]:
        """The photos that a cell may mean: one if all is well, none, or several of the same rank."""
        path = composed(cell.strip().strip("\"'").replace("\\", "/")).removeprefix("./")
        if path in self.exact:
            return [self.exact[path]]
        folded = path.casefold()
        if folded in self.whole:
            return self.whole[folded]
        stem = _stem(folded)
        found = self.tails.get(stem, [])
        if not found:  # more folders than the photo has below its own: an absolute path, or one from another place
            tails = ([f for f in self.tails.get(tail, ()) if self._is(f, tail)] for tail in _tails(stem))
            found = next((some for some in tails if some), [])
        same_suffix = [f for f in found if f.suffix.lower() == PurePosixPath(folded).suffix]
        whole = [f for f in found if self._is(f, stem)]
        return next((some for some in (same_suffix, whole, found) if len(some) == 1), found)

    def _is(self, file: Path, stem: str) -> bool:
        return _stem(self.paths[file].casefold()) == stem

    def hint(self, cell: str) -> str:
        """` (did you mean …?)` for a name that is nearly that of a photo; compared with a few hundred alone."""
        path = composed(cell).replace("\\", "/")
        start, end = path[:2].casefold(), _stem(path).casefold()[-3:]
        alike = (p for p in self.exact if p[:2].casefold() == start or _stem(p).casefold().endswith(end))
        some = [path for _, path in zip(range(HINTS_FROM), alike)] or list(self.exact)[:HINTS_FROM]
        near = difflib.get_close_matches(path, some, n=1, cutoff=0.6)
        return f" (did you mean {near[0]}?)" if near else ""


def _stem(path: str) -> str:
    """The path without its suffix, if that is a photo's."""
    suffix = PurePosixPath(path).suffix
    return (path.removesuffix(suffix) if suffix.lower() in PHOTO_SUFFIXES else path).casefold()


def _tails(path: str) -> list[str]:
    """The path and what is left of it after its first, its first two … folders: a/b/c -> a/b/c, b/c, c."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
