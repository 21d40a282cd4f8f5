import pytest

from utils.image_list import ImageEntry, read_image_list


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
        ("a 0\nb 20\n", r"list\.txt:2: tag 20 is outside 0\.\.19"),
        ("a -1\n", r"list\.txt:1: '-1' is not a tag"),
        ("a cat\n", r"list\.txt:1: 'cat' is not a tag"),
        ("a 0\n\na 1\n", r"list\.txt:3: a is listed twice"),
        ("\n", "lists no image"),
    ],
)
def test_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_image_list(write(tmp_path, text), 20)


def test_missing_tags_are_an_error_only_where_they_are_needed(tmp_path):
    path = write(tmp_path, "a 0\nb\n")
    assert read_image_list(path, 20)[1].tags == ()
    with pytest.raises(ValueError, match=r"list\.txt:2: b has no tags"):
        read_image_list(path, 20, need_tags=True)


def test_missing_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        read_image_list(tmp_path / "none.txt", 20)
