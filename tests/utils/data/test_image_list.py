import pytest

from utils.data.image_list import ImageEntry, parse_image_list, read_image_list, write_image_list
from utils.errors import UserError


def write(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("2007_000032", ImageEntry("2007_000032")),
        ("2007_000032 0 14", ImageEntry("2007_000032", (0, 14))),
        ("2007_000032.jpg 14 0 14", ImageEntry("2007_000032", (0, 14))),
        ("/JPEGImages/a.b.jpg /SegmentationClassAug/a.b.png", ImageEntry("a.b")),
        ("JPEGImages/a.jpg 3", ImageEntry("a", (3,))),
        ("a.b 3", ImageEntry("a.b", (3,))),
    ],
)
def test_every_usual_form_is_read(tmp_path, line, entry):
    assert read_image_list(write(tmp_path, f"\n{line}\n\n"), 20) == [entry]


def test_order_of_the_list_is_kept(tmp_path):
    assert [entry.name for entry in read_image_list(write(tmp_path, "b 0\na 1\nc 0\n"), 20)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 0\nb 20\n", r"list\.txt:2: .*20.*0\.\.19"),
        ("a -1\n", r"list\.txt:1: '-1'"),
        ("a cat\n", r"list\.txt:1: 'cat'"),
        ("a 0\n\na 1\n", r"list\.txt:3: a "),
        ("\n", r"list\.txt: "),
    ],
)
def test_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_image_list(write(tmp_path, text), 20)


def test_missing_tags_are_an_error_only_where_they_are_needed(tmp_path):
    path = write(tmp_path, "a 0\nb\n")
    assert read_image_list(path, 20)[1].tags == ()
    with pytest.raises(UserError, match=r"list\.txt:2: b "):
        read_image_list(path, 20, need_tags=True)


def test_missing_list_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt"):
        read_image_list(tmp_path / "none.txt", 20)


def test_every_wrong_line_is_collected_and_the_right_ones_are_read(tmp_path):
    path = write(tmp_path, "a 0\nb 20\na 1\nc\nd 3\n")
    entries, faults = parse_image_list(path, 20, need_tags=True)
    assert [entry.name for entry in entries] == ["a", "d"]
    assert [fault.where for fault in faults] == [f"{path}:{line}" for line in (2, 3, 4)]
    with pytest.raises(UserError) as error:
        read_image_list(path, 20, need_tags=True)
    assert error.value.where == f"{path}:2"
    assert "2 more" in error.value.remedy and "scripts/check_data.py" in error.value.remedy


def test_lists_of_other_programs_are_read_and_other_encodings_named(tmp_path):
    path = write(tmp_path, "")
    path.write_bytes("\ufeffTürme 1\r\nb 0\r\n".encode())
    assert [entry.name for entry in read_image_list(path, 20)] == ["Türme", "b"]
    path.write_bytes("Türme 1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"list\.txt: .*UTF-8"):
        read_image_list(path, 20)


def test_a_written_list_reads_back(tmp_path):
    entries = [ImageEntry("Türme_1", (0, 3)), ImageEntry("b.c")]
    write_image_list(tmp_path / "list.txt", entries)
    assert read_image_list(tmp_path / "list.txt", 20) == entries


@pytest.mark.parametrize("name", ["a b", "a.jpg", "a/b", ""])
def test_a_name_that_would_not_read_back_is_not_written(tmp_path, name):
    with pytest.raises(UserError) as error:
        write_image_list(tmp_path / "list.txt", [ImageEntry(name)])
    assert repr(name) in error.value.what
    assert not (tmp_path / "list.txt").exists()


def test_a_dash_says_that_none_of_the_classes_is_there_and_reads_back(tmp_path):
    path = tmp_path / "train_cls.txt"
    entries = [ImageEntry("a", (0, 1)), ImageEntry("b", is_negative=True)]
    write_image_list(path, entries)
    assert path.read_text() == "a 0 1\nb -\n"
    assert read_image_list(path, 2, need_tags=True) == entries


@pytest.mark.parametrize("line", ["b", "b - 0", "b 0 -", "b --"])
def test_a_bare_name_or_a_dash_among_tags_is_no_negative(tmp_path, line):
    (tmp_path / "train_cls.txt").write_text(f"a 0\n{line}\n")
    with pytest.raises(UserError, match=r"train_cls\.txt:2"):
        read_image_list(tmp_path / "train_cls.txt", 2, need_tags=True)
