"""Reads tables: CSV in any common encoding and separator, or Excel's xlsx."""

import csv
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.prepare.findings import Findings
from utils.errors import UserError
from utils.files.disk import disk_errors

Row = tuple[int, list[str]]  # line number, cells
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHER_TABLES = (".xls", ".xlsb", ".ods", ".numbers", ".json", ".xml", ".html", ".parquet")
MOST_OF_A_CELL = 1 << 24  # characters


def read_rows(path: Path, is_header: Callable[[list[str]], bool], findings: Findings) -> list[Row]:
    """Read every non-empty row, with its cells stripped. Raises UserError if the file is not a table.

    is_header: whether a row can be the header. The separator for which the first row is one is used, else the one that
    gives the most columns.
    """
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        rows = _excel_rows(path)
    elif path.suffix.lower() in OTHER_TABLES:
        raise UserError(f"is a {path.suffix} file", path, "expected CSV or .xlsx", "save it as CSV")
    else:
        rows = _text_rows(path, is_header, findings)
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows]
    return [(number, cells) for number, cells in rows if any(cells)]


def _text_rows(path: Path, is_header: Callable[[list[str]], bool], findings: Findings) -> list[Row]:
    text = decoded(path, findings)
    lines = text.splitlines(keepends=True)
    skipped = 0
    if lines and lines[0].strip().lower().startswith("sep=") and len(lines[0].strip()) == 5:
        skipped, delimiter = 1, lines[0].strip()[4]  # Excel's `sep=` line
    else:
        delimiter = _delimiter(text, is_header)
    if delimiter != ",":
        findings.note(f"{path.name}: columns are separated by {DELIMITERS.get(delimiter, repr(delimiter))}")
    csv.field_size_limit(MOST_OF_A_CELL)
    rows = csv.reader(io.StringIO("".join(lines[skipped:]), newline=""), delimiter=delimiter)
    try:
        return [(rows.line_num + skipped, row) for row in rows]
    except csv.Error as error:
        where = f"{path}:{rows.line_num + skipped}"
        raise UserError(f"is not a table ({error})", where, remedy="save it as CSV") from error


def _delimiter(text: str, is_header: Callable[[list[str]], bool]) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    headers = {mark: next(csv.reader([first], delimiter=mark), []) for mark in DELIMITERS}
    proper = [mark for mark, cells in headers.items() if is_header([cell.strip() for cell in cells])]
    return max(proper or DELIMITERS, key=lambda mark: len(headers[mark]))


def decoded(path: Path, findings: Findings) -> str:
    """Decode the file by its byte order mark, else as UTF-16 if every other byte is 0, as UTF-8, or as Latin-1."""
    with disk_errors(path):
        content = path.read_bytes()
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return _decode(content, encoding, path)
    zeros = [content[start:400:2].count(0) for start in (0, 1)]
    if max(zeros) > len(content[:400]) // 4:
        return _decode(content, "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le", path)
    if content.count(0):
        raise UserError("is not text (it contains zero bytes)", path, "expected CSV or .xlsx", "save it as CSV")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        findings.note(
            f"{path.name} is not UTF-8 (byte {error.start}): read as Latin-1; save it as UTF-8 if names look wrong"
        )
        return content.decode("cp1252", errors="replace")


def _decode(content: bytes, encoding: str, path: Path) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"is not {encoding} text ({error.reason})", path, remedy="save it as UTF-8") from error


def _excel_rows(path: Path) -> list[Row]:
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        remedy = "run `pip install openpyxl`, or save the table as CSV"
        raise UserError("reading Excel files needs openpyxl, which is not installed", path, remedy=remedy) from error
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        return [(number, [_cell(value) for value in row]) for number, row in enumerate(sheet.values, 1)]
    except Exception as error:  # openpyxl raises its own errors and those of zipfile and of XML parsers
        raise UserError(f"cannot be read as an Excel file ({error})", path, remedy="save it as CSV") from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)
