"""The user's photos and their tags: from a table or from one folder per tag, with any names."""

import filecmp
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.prepare.findings import Findings
from scripts.prepare.photo_names import PhotoIndex, composed, relative, safe_name, unique_names
from scripts.prepare.tag_cells import made_of_others, merged_names, tag_problem, tidy
from scripts.prepare.tag_table import TagRow
from utils.files.text import first_few


@dataclass(frozen=True)
class Photo:
    """A photo: its file, its name in the dataset, and the names of its tags.

    tags: empty for a negative, which shows none of the classes; None if unknown.
    """

    name: str
    file: Path
    tags: tuple[str, ...] | None

    @property
    def is_negative(self) -> bool:
        return self.tags == ()


def tagged_by_rows(
    read: Callable[[PhotoIndex], Sequence[TagRow]],
    name: str,
    folder: Path,
    files: Sequence[Path],
    *,
    skip_missing: bool,
    findings: Findings,
) -> list[Photo]:
    """Return every photo with its tags in the rows. Several rows of a photo are merged, with a note.

    read: photos -> rows. name: the file of the rows, for messages.
    """
    index = PhotoIndex(files, folder)
    rows = read(index)
    tags = _joined(rows, index, folder, skip_missing=skip_missing, findings=findings)
    names = unique_names(files, folder)
    absent = sum(file not in tags for file in files)
    if absent:
        findings.note(f"{absent} photos are not in {name}: their tags are unknown, and they are only labelled")
    return [Photo(names[file], file, tags.get(file)) for file in files]


def _joined(
    rows: Sequence[TagRow], index: PhotoIndex, folder: Path, *, skip_missing: bool, findings: Findings
) -> dict[Path, tuple[str, ...] | None]:
    """Return the tags of every photo named in a row."""
    of_photo: dict[Path, list[TagRow]] = defaultdict(list)
    missing, shortened = [], 0
    for row in rows:
        found = index.find(row.file)
        if len(found) == 1:
            of_photo[found[0]].append(row)
            shortened += index.paths[found[0]] != composed(row.file)
        elif found:
            some = first_few((index.paths[file] for file in found), 3)
            findings.wrong("rows name several photos (give their paths)", f"{row.where} {row.file!r} ({some})")
        else:
            missing.append(row)
    shown = [f"{row.where} {row.file!r}{index.hint(row.file)}" for row in missing[:10]]
    shown += [row.where for row in missing[10:]]
    if missing and skip_missing:
        findings.note(f"skipped: {len(missing)} rows whose photo is not in {folder} ({first_few(shown, 10)})")
    elif missing:
        findings.wrong(f"rows name photos that are not in {folder} (--skip_missing skips them)", *shown)
    if shortened:
        findings.note(f"{shortened} rows name their photo with another path, letter case or suffix than its file")
    several = sum(len(group) > 1 for group in of_photo.values())
    if several:
        findings.note(f"{several} photos have several rows: their tags are merged")
    return {file: _tags_of(group, findings) for file, group in of_photo.items()}


def _tags_of(rows: Sequence[TagRow], findings: Findings) -> tuple[str, ...] | None:
    """Merge the tags of all rows; None if all are unknown."""
    known = [row.tags for row in rows if row.tags is not None]
    if not known:
        return None
    if len(known) < len(rows):
        findings.wrong("photos have rows with tags and rows with ?", rows[0].where)
    return tuple(dict.fromkeys(composed(tag) for tags in known for tag in tags))


def tagged_by_folders(folder: Path, files: Sequence[Path], findings: Findings) -> list[Photo]:
    """Return photos with the names of their folders as tags. The same photo in two folders has two tags.

    Tags of photos directly in `folder` are unknown.
    """
    groups: list[list[Path]] = []
    by_stem: dict[str, list[list[Path]]] = defaultdict(list)
    for file in files:
        same = next((g for g in by_stem[safe_name(file.stem)] if filecmp.cmp(g[0], file, shallow=False)), None)
        if same:
            same.append(file)
        else:
            groups.append([file])
            by_stem[safe_name(file.stem)].append(groups[-1])
    names = unique_names([group[0] for group in groups], folder)
    photos = []
    for group in groups:
        tags = dict.fromkeys(
            tidy(composed(file.relative_to(folder).parts[0])) for file in group if file.parent != folder
        )
        photos.append(Photo(names[group[0]], group[0], tuple(tags) or None))
    several = sum(len(group) > 1 for group in groups)
    if several:
        findings.note(f"{several} photos are in several folders: they get the tags of all of them")
    untagged = sum(photo.tags is None for photo in photos)
    if untagged:
        findings.note(
            f"{untagged} photos are not in a tag's folder: their tags are unknown, and they are only labelled"
        )
    return photos


def with_negatives(
    photos: Sequence[Photo], negatives: Sequence[Path], folder: Path, findings: Findings, *, by_folders: bool
) -> list[Photo]:
    """Mark the photos of --negatives as negatives and add those from elsewhere. Their folder's name is not a tag."""
    chosen = set(negatives)
    result = []
    for photo in photos:
        if photo.file not in chosen:
            result.append(photo)
            continue
        if photo.tags and not by_folders:
            findings.wrong("photos of --negatives have tags in the table", str(photo.file))
        result.append(replace(photo, tags=()))
    listed = {photo.file for photo in photos}
    files = [*(photo.file for photo in photos), *(file for file in negatives if file not in listed)]
    names = unique_names(files, folder)
    result += [Photo("", file, ()) for file in negatives if file not in listed]
    return [replace(photo, name=names[photo.file]) for photo in result]


def merge_tags(photos: Sequence[Photo], known: Sequence[str], findings: Findings) -> list[Photo]:
    """Unify the spelling of tags that differ only in case or spaces, and report invalid tags."""
    counts = Counter(tag for photo in photos for tag in photo.tags or ())
    names = merged_names(counts.elements(), known)
    for tag, name in sorted(names.items()):
        if tag != name:
            findings.note(
                f"the tag {tag!r} is read as {name!r}: they differ only in case, spaces or invisible characters"
            )
    for tag, parts in made_of_others(names.values()).items():
        findings.note(f"the tag {tag!r} is a class beside {' and '.join(parts)}: if it means these, separate them by ;")
    for tag in sorted(set(names.values())):
        if problem := tag_problem(tag):
            some = next(photo.file for photo in photos if photo.tags and tag in photo.tags)
            findings.wrong("tags are not valid class names", f"{problem}, e.g. of {relative(some, some.parent.parent)}")
    return [
        photo if photo.tags is None else replace(photo, tags=tuple(sorted({names[tag] for tag in photo.tags})))
        for photo in photos
    ]
