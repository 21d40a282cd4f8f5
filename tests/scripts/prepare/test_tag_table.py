"""Tables of tags in the dialects of people and programs, which all give the same rows."""

import codecs
import importlib
import sys

import pytest

from scripts.prepare.findings import Findings
from scripts.prepare.tag_table import read_tag_table
from utils.errors import UserError

EXPECTED = [("a.jpg", ("cat", "dog")), ("b c.jpg", ("emu",)), ("ü.jpg", ()), ("d.jpg", None)]


def read(path, **more):
    findings = Findings()
    rows = read_tag_table(
        path, **{"separator": None, "is_photo": lambda cell: cell.endswith(".jpg"), "findings": findings, **more}
    )
    return [(row.file, row.tags) for row in rows], "\n".join(findings.notes)


def text_file(tmp_path, text, encoding="utf-8"):
    (tmp_path / "tags.csv").write_bytes(codecs.encode(text, encoding))
    return tmp_path / "tags.csv"


PLAIN = "file,tags\na.jpg,cat;dog\nb c.jpg,emu\nü.jpg,\nd.jpg,?\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_every_usual_encoding(tmp_path, encoding):
    rows, notes = read(text_file(tmp_path, PLAIN, encoding))
    assert rows == EXPECTED
    assert ("Latin-1" in notes) == (encoding == "latin-1")


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\n\n" + PLAIN + "\n,\n",
        PLAIN.replace(",", "\t"),
        PLAIN.replace(";", "|"),
        PLAIN.replace(",", "\t").replace(";", ","),
        PLAIN.replace("cat;dog", '"cat,dog"'),
        PLAIN.replace("cat;dog", '"cat, dog"').replace(",", ";").replace('"cat; dog"', "cat, dog"),
        PLAIN.replace("cat;dog", "cat,dog"),  # more cells than the header
        PLAIN.replace("a.jpg,cat;dog", "a.jpg, cat ; dog;; "),
        PLAIN.replace("a.jpg,cat;dog", '"a.jpg","cat;dog"'),
        "sep=;\nfile;tags\na.jpg;cat,dog\nb c.jpg;emu\nü.jpg;\nd.jpg;?\n",
        "Image Path,id,Labels,size\na.jpg,1,cat;dog,9\nb c.jpg,2,emu,9\nü.jpg,3,,9\nd.jpg,4,?,9\n",
        "label,filename\ncat;dog,a.jpg\nemu,b c.jpg\n,ü.jpg\n?,d.jpg\n",
        "a.jpg,cat;dog\nb c.jpg,emu\nü.jpg,\nd.jpg,?\n",  # no header
        "image,cat,dog,emu,width\na.jpg,1,1,0,640\nb c.jpg,0,0,1,800\nü.jpg,0,0,0,7\nd.jpg,?,?,?,9\n",
        "name;cat;dog;emu\na.jpg;True;true;False\nb c.jpg;False;False;TRUE\nü.jpg;;;\nd.jpg;?;;\n",
        "file,tags\na.jpg,\"['cat', 'dog']\"\nb c.jpg,['emu']\nü.jpg,[]\nd.jpg,?\n",
        'image,choice\na.jpg,"{""choices"":[""cat"",""dog""]}"\nb c.jpg,"[""emu""]"\nü.jpg,{}\nd.jpg,?\n',
        "file,tags\na.jpg,['cat' 'dog']\nb c.jpg,\"('emu',)\"\nü.jpg,()\nd.jpg,?\n",
    ],
)  # fmt: skip
def test_every_dialect_gives_the_same_rows(tmp_path, text):
    rows, _ = read(text_file(tmp_path, text))
    assert [(file, tags and tuple(sorted(tags))) for file, tags in rows] == EXPECTED


def test_what_was_understood_is_said(tmp_path):
    _, notes = read(text_file(tmp_path, 'image;labels;width\na.jpg;cat,dog;7\nb.jpg;"[""emu""]";8\n'))
    for part in ("semicolon", "separated by ','", "1 cells contain lists", "unused columns: width"):
        assert part in notes, part


def test_two_separators_split_alike_unless_one_is_chosen(tmp_path):
    path = text_file(tmp_path, 'file,tags\na.jpg,cat;dog\nb.jpg,"cat, dog"\n')
    assert read(path)[0] == [("a.jpg", ("cat", "dog")), ("b.jpg", ("cat", "dog"))]
    assert read(path, separator=";")[0][1] == ("b.jpg", ("cat, dog",))


def test_a_row_without_a_cell_of_tags_is_a_negative(tmp_path):
    assert read(text_file(tmp_path, "file,tags\na.jpg\n"))[0] == [("a.jpg", ())]


def test_excel_files_are_read_by_openpyxl(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="pip install openpyxl")
    book = openpyxl.Workbook()
    for row in (
        ["file", "cat", "dog", "emu"],
        ["a.jpg", 1, True, 0],
        ["b c.jpg", 0, 0.0, 1.0],
        ["ü.jpg"],
        ["d.jpg", "?"],
    ):
        book.active.append(row)
    book.save(tmp_path / "tags.xlsx")
    assert read(tmp_path / "tags.xlsx")[0] == EXPECTED


def test_a_missing_openpyxl_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    importlib.invalidate_caches()
    (tmp_path / "tags.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match="`pip install openpyxl`"):
        read(tmp_path / "tags.xlsx")


@pytest.mark.parametrize("content", [b"\x00\x01\x02\xff" * 9, b"\xff\xfe\x00", b"", b"colour,size\nred,9\n"])
def test_what_is_no_table_is_one_line(tmp_path, content):
    (tmp_path / "tags.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"tags\.csv"):
        read(tmp_path / "tags.csv")


def test_a_long_cell_is_read(tmp_path):
    rows, _ = read(text_file(tmp_path, f"file,tags,notes\na.jpg,cat,{'x' * 300_000}\n"))
    assert rows == [("a.jpg", ("cat",))]
