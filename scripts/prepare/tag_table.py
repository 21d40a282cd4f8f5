"""Reads a table of photos and tags: identifies the columns and returns the tags of each row."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.prepare.findings import Findings
from scripts.prepare.table_text import Row, read_rows
from scripts.prepare.tag_cells import UNKNOWN, items_of, separators_of, split_cell, tidy
from utils.errors import UserError
from utils.files.text import first_few

# headers in lower case without spaces, `_` and `-`, in order of preference
FILE_HEADERS = (
    "file", "filename", "filepath", "image", "imagename", "imagefile", "imagepath", "img", "photo", "photoname",
    "picture", "path", "name", "imageid", "id", "key",
)  # fmt: skip
TAG_HEADERS = (
    "tags", "labels", "tag", "label", "classes", "class", "categories", "category", "keywords", "choices", "choice",
)  # fmt: skip
YES = ("1", "1.0", "true", "yes", "x", "y")
NO = ("0", "0.0", "false", "no", "n", "-", "")


@dataclass(frozen=True)
class TagRow:
    """A row: its line, the photo's path as written, and its tags; None if they are unknown (`?`)."""

    where: str
    file: str
    tags: tuple[str, ...] | None


@dataclass(frozen=True)
class _Columns:
    """Index of the file column, and of the tag column, or of the 0/1 columns with their classes.

    width: number of columns in the header; further cells of a row are also tags if the tag column is the last.
    """

    file: int
    tags: int | None
    width: int
    classes: tuple[tuple[int, str], ...] = ()


def read_tag_table(
    path: Path, *, separator: str | None, is_photo: Callable[[str], bool], findings: Findings
) -> list[TagRow]:
    """Read every row of the table. Raises UserError if no column of files or tags is found.

    Columns are identified by their headers. In a table without headers, the first column names photos (is_photo) and
    the others are tags. Without a tag column, every column that contains only 0 and 1 is a class.
    """
    rows = read_rows(path, _has_file_column, findings)
    if not rows:
        raise UserError("contains no rows", path, "expected the header file,tags and one row per photo")
    number, header = rows[0]
    if _has_file_column(header):
        columns, rows = _columns(path, number, header, rows[1:], findings), rows[1:]
    elif is_photo(header[0]):
        findings.note(f"{path.name}: has no header: the first column names photos, the others are tags")
        columns = _Columns(0, 1, 2)
    else:
        rule = f"expected one column named {', '.join(FILE_HEADERS[:3])}, …, another {', '.join(TAG_HEADERS[:3])}, …"
        raise UserError(f"the header is {' | '.join(header)!r}", f"{path}:{number}", rule, "rename the columns")
    if columns.tags is None:
        return _from_classes(path, rows, columns)
    return _from_cells(path, rows, columns, separator, findings)


def _plain(header: str) -> str:
    return re.sub(r"[\s_-]", "", header.lower())


def _has_file_column(header: Sequence[str]) -> bool:
    return len(header) > 1 and any(_plain(cell) in FILE_HEADERS for cell in header)


def _first_of(names: Sequence[str], header: Sequence[str]) -> int | None:
    plain = [_plain(cell) for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


def _columns(path: Path, number: int, header: list[str], rows: list[Row], findings: Findings) -> _Columns:
    file, tags = _first_of(FILE_HEADERS, header), _first_of(TAG_HEADERS, header)
    assert file is not None
    if tags is not None and _is_the_same(tags, header, rows):
        tags = None  # e.g. a 0/1 column of a class named `label` does not contain tags
    if tags is None:
        classes = tuple((i, tidy(cell)) for i, cell in enumerate(header) if i != file and _is_binary(i, rows) and cell)
        if not classes:
            rule = f"expected a column named {', '.join(TAG_HEADERS[:4])}, …, or one column of 0 and 1 per class"
            raise UserError("no column contains tags", f"{path}:{number}", rule, "rename the columns")
        findings.note(f"{path.name}: {len(classes)} columns of 0 and 1 are classes: {first_few(n for _, n in classes)}")
        used = {file, *(i for i, _ in classes)}
    else:
        classes, used = (), {file, tags}
    other = [cell or "without a name" for i, cell in enumerate(header) if i not in used]
    if other:
        findings.note(f"{path.name}: unused columns: {first_few(other, 10)}")
    return _Columns(file, tags, len(header), classes)


def _is_binary(index: int, rows: Sequence[Row]) -> bool:
    values = {cells[index].lower() if index < len(cells) else "" for _, cells in rows}
    return values <= {*YES, *NO, UNKNOWN} and bool(values & {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "x"})


def _is_the_same(tags: int, header: Sequence[str], rows: Sequence[Row]) -> bool:
    """Return whether the column with the name of a tag column is one of several columns of 0 and 1."""
    return _is_binary(tags, rows) and sum(_is_binary(i, rows) for i in range(len(header))) > 1


def _from_classes(path: Path, rows: Sequence[Row], columns: _Columns) -> list[TagRow]:
    result = []
    for number, cells in rows:
        values = {name: cells[i].lower() if i < len(cells) else "" for i, name in columns.classes}
        tags = None if UNKNOWN in values.values() else tuple(n for n, value in values.items() if value in YES)
        result.append(TagRow(f"{path.name}:{number}", _at(cells, columns.file), tags))
    return result


def _from_cells(
    path: Path, rows: Sequence[Row], columns: _Columns, separator: str | None, findings: Findings
) -> list[TagRow]:
    assert columns.tags is not None
    of_tags = [_tag_cells(cells, columns) for _, cells in rows]
    flat = [cell for cells in of_tags for cell in cells]
    separators = separators_of(flat, separator)
    if separators:
        also = "" if separator else "; --separator=… selects another"
        findings.note(f"{path.name}: tags are separated by {' and '.join(map(repr, separators))}{also}")
    lists = sum(items_of(cell) is not None for cell in flat)
    if lists:
        findings.note(f"{path.name}: {lists} cells contain lists or JSON: their items are the tags")
    result = []
    for (number, cells), own in zip(rows, of_tags):
        tags = tuple(dict.fromkeys(tag for cell in own for tag in split_cell(cell, separators)))
        known = tags if tags != (UNKNOWN,) else None
        result.append(TagRow(f"{path.name}:{number}", _at(cells, columns.file), known))
    return result


def _tag_cells(cells: Sequence[str], columns: _Columns) -> list[str]:
    """Return the tag cell, and the cells after it in a row with more cells than the header: `a.jpg,cat,dog`."""
    assert columns.tags is not None
    last = len(cells) if columns.tags == columns.width - 1 else columns.tags + 1
    return [cell for cell in cells[columns.tags : last] if cell]


def _at(cells: Sequence[str], index: int) -> str:
    return cells[index] if index < len(cells) else ""
