"""Matches a table's rows to photos, and chooses the photos' names in the dataset."""

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from utils.data.image_list import IMAGE_SUFFIXES
from utils.data.photo_files import PHOTO_SUFFIXES

HINTS_FROM = 300  # number of names that a mistyped one is compared with


def composed(text: str) -> str:
    """Normalise the text to composed characters (NFC): some systems decompose umlauts in file names."""
    return unicodedata.normalize("NFC", text)


def safe_name(stem: str) -> str:
    """Return a name valid in image lists: white space becomes `_`, and so does the dot of an image suffix in it."""
    name = "_".join(composed(stem).split())
    suffix = Path(name).suffix
    return f"{name.removesuffix(suffix)}_{suffix[1:]}" if suffix in IMAGE_SUFFIXES else name


def unique_names(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Choose each photo's name in the dataset: that of its file, extended by folders and suffix where it is not unique.

    Names are compared case-insensitively, because some file systems are.
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
    """Return the photo's path relative to the folder, or its full path if it is elsewhere (--negatives)."""
    return file.relative_to(folder) if file.is_relative_to(folder) else Path(*file.parts[-2:])


class PhotoIndex:
    """Finds the photos named in a table by path or its last parts, with or without suffix, case-insensitively."""

    def __init__(self, files: Iterable[Path], folder: Path) -> None:
        self.paths = {file: composed(file.relative_to(folder).as_posix()) for file in files}
        self.exact = {path: file for file, path in self.paths.items()}
        self.whole: Mapping[str, list[Path]] = defaultdict(list)  # by path in lower case
        self.tails: Mapping[str, list[Path]] = defaultdict(list)  # by the last parts of the path without suffix
        for file, path in self.paths.items():
            self.whole[path.casefold()].append(file)
            for tail in _tails(_stem(path)):
                self.tails[tail].append(file)

    def find(self, cell: str) -> list[Path]:
        """Return the photos that match a cell equally well: normally one, or none, or several."""
        path = composed(cell.strip().strip("\"'").replace("\\", "/")).removeprefix("./")
        if path in self.exact:
            return [self.exact[path]]
        folded = path.casefold()
        if folded in self.whole:
            return self.whole[folded]
        stem = _stem(folded)
        found = self.tails.get(stem, [])
        if not found:  # the cell has more folders than the photo's path: an absolute path, or one of another machine
            tails = ([f for f in self.tails.get(tail, ()) if self._is(f, tail)] for tail in _tails(stem))
            found = next((some for some in tails if some), [])
        same_suffix = [f for f in found if f.suffix.lower() == PurePosixPath(folded).suffix]
        whole = [f for f in found if self._is(f, stem)]
        return next((some for some in (same_suffix, whole, found) if len(some) == 1), found)

    def _is(self, file: Path, stem: str) -> bool:
        return _stem(self.paths[file].casefold()) == stem

    def hint(self, cell: str) -> str:
        """Return ` (did you mean …?)` if a photo has a similar name. Compares with a few hundred names only."""
        path = composed(cell).replace("\\", "/")
        start, end = path[:2].casefold(), _stem(path).casefold()[-3:]
        alike = (p for p in self.exact if p[:2].casefold() == start or _stem(p).casefold().endswith(end))
        some = [path for _, path in zip(range(HINTS_FROM), alike)] or list(self.exact)[:HINTS_FROM]
        near = difflib.get_close_matches(path, some, n=1, cutoff=0.6)
        return f" (did you mean {near[0]}?)" if near else ""


def _stem(path: str) -> str:
    """Remove the suffix of a photo from the path."""
    suffix = PurePosixPath(path).suffix
    return (path.removesuffix(suffix) if suffix.lower() in PHOTO_SUFFIXES else path).casefold()


def _tails(path: str) -> list[str]:
    """Return the path without its first 0, 1, 2, … folders: a/b/c -> a/b/c, b/c, c."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
