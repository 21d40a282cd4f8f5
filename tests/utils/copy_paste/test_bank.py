import pickle

import numpy as np
import pytest

from utils.copy_paste.bank import INDEX_FILE, Foreground, ForegroundBank, foreground_file, write_foreground, write_index
from utils.data.images import write_image
from utils.errors import UserError

CLASSES = ("cat", "traffic light", "dog", "boat")


def foreground(tag, source, *, height=4, width=6):
    rng = np.random.default_rng([tag, height, width])
    mask = np.zeros((height, width), bool)
    mask[:, : 1 + tag] = True
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Foreground(image, mask, rng.integers(0, 256, (height, width), dtype=np.uint8), tag, source)


def write(folder, item):
    return write_foreground(folder, item, CLASSES[item.tag], agreement=0.75)


@pytest.fixture
def folder(tmp_path):
    """One cat, one traffic light and three dogs; no boat."""
    items = [foreground(0, "a"), foreground(1, "b.c"), *(foreground(2, f"d{i}") for i in range(3))]
    write_index(tmp_path, [write(tmp_path, item) for item in items])
    return tmp_path


def test_what_is_written_is_read_back(folder):
    bank = ForegroundBank.open(folder, CLASSES)
    for tag, source in ((0, "a"), (1, "b.c")):
        (entry,) = bank.entries(tag)
        read, expected = bank.read(entry), foreground(tag, source)
        for name in ("image", "mask", "saliency"):
            array = getattr(read, name)
            assert np.array_equal(array, getattr(expected, name)) and array.dtype == getattr(expected, name).dtype
        assert (read.tag, read.source) == (tag, source)
        assert (entry.width, entry.height, entry.area, entry.agreement) == (6, 4, 4 * (1 + tag), 0.75)


def test_color_outside_the_object_is_kept(folder):
    read = ForegroundBank.open(folder, CLASSES).read(ForegroundBank.open(folder, CLASSES).entries(0)[0])
    assert read.image[~read.mask].any()


def test_bank_knows_what_it_has_and_what_it_lacks(folder):
    bank = ForegroundBank.open(folder, CLASSES)
    assert (len(bank), bank.tags) == (5, (0, 1, 2))
    assert bank.counts == {"cat": 1, "traffic light": 1, "dog": 3, "boat": 0}
    assert bank.missing(CLASSES) == ["boat"] and bank.missing(["cat"]) == []


def test_tags_follow_the_data_set_and_not_the_bank(folder):
    bank = ForegroundBank.open(folder, CLASSES[::-1])
    assert bank.tags == (1, 2, 3)
    assert bank.read(bank.entries(3)[0]).source == "a"


def test_classes_are_drawn_alike_whatever_their_counts_and_then_their_foregrounds(folder):
    bank, rng = ForegroundBank.open(folder, CLASSES), np.random.default_rng(0)
    drawn = [bank.draw([0, 2, 3], rng) for _ in range(300)]
    sources = [item.source for item in drawn]
    assert {item.tag for item in drawn} == {0, 2}
    assert 120 < sources.count("a") < 180
    assert all(30 < sources.count(f"d{i}") < 70 for i in range(3))


def test_same_generator_draws_the_same(folder):
    bank = ForegroundBank.open(folder, CLASSES)
    first, second = ([bank.draw(tags, np.random.default_rng(3)).source] for tags in ([0, 1, 2], [2, 0, 1]))
    assert first == second


def test_nothing_is_drawn_where_the_bank_has_no_absent_class(folder):
    bank = ForegroundBank.open(folder, CLASSES)
    assert bank.draw([3], np.random.default_rng(0)) is None
    assert bank.draw([], np.random.default_rng(0)) is None


def test_bank_goes_to_workers_without_its_pictures(folder):
    data = pickle.dumps(ForegroundBank.open(folder, CLASSES))
    assert len(data) < 2000
    assert pickle.loads(data).draw([0], np.random.default_rng(0)).source == "a"


def test_opening_reads_no_picture(folder):
    (folder / "cat" / "a.png").write_bytes(b"broken")
    bank = ForegroundBank.open(folder, CLASSES)
    with pytest.raises(UserError, match=r"cat/a\.png"):
        bank.draw([0], np.random.default_rng(0))


def test_bank_without_index_is_unfinished(folder, tmp_path):
    (folder / INDEX_FILE).unlink()
    with pytest.raises(UserError, match=r"index\.csv.*scripts/build_foregrounds\.py"):
        ForegroundBank.open(folder, CLASSES)
    with pytest.raises(UserError, match=r"none: .*scripts/build_foregrounds\.py"):
        ForegroundBank.open(tmp_path / "none", CLASSES)


def test_empty_bank_is_an_error(tmp_path):
    write_index(tmp_path, [])
    with pytest.raises(UserError, match=r"index\.csv: .*--min_area"):
        ForegroundBank.open(tmp_path, CLASSES)


def test_bank_of_another_data_set_is_named(folder):
    with pytest.raises(UserError, match=r"dog, traffic light .*cat, boat: .*--cda_bank"):
        ForegroundBank.open(folder, ("cat", "boat"))


def test_missing_files_are_counted_and_named(folder):
    (folder / "cat" / "a.png").unlink()
    (folder / "dog" / "d1_sal.png").unlink()
    with pytest.raises(UserError, match=r"2 of 10 .*\(cat/a\.png, dog/d1_sal\.png\)"):
        ForegroundBank.open(folder, CLASSES)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("file,class", "path,class", r"index\.csv:1: .*path"),
        ("cat/a.png,cat,a,6", "cat/a.png,cat,a,six", r"index\.csv:2: six, "),
        ("cat/a.png,cat,a,6", "cat/a.png,cat,a", r"index\.csv:2: 6 .*7"),
        ("cat/a.png", "../a.png", r"index\.csv:2: \.\./a\.png"),
        ("cat/a.png,cat", "../a.png,..", r"'\.\.'"),
    ],
)
def test_damaged_index_is_named_with_its_line(folder, old, new, message):
    path = folder / INDEX_FILE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        ForegroundBank.open(folder, CLASSES)


def test_picture_of_another_size_than_the_index_says_is_named(folder):
    bank = ForegroundBank.open(folder, CLASSES)
    write_image(folder / "cat" / "a_sal.png", np.zeros((3, 6), np.uint8))
    with pytest.raises(UserError, match=r"cat/a\.png: .*6x4, .*6x3: .*6x4: .*--overwrite"):
        bank.read(bank.entries(0)[0])
    write_image(folder / "cat" / "a.png", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(UserError, match=r"cat/a\.png: .*RGB.*RGBA"):
        bank.read(bank.entries(0)[0])


@pytest.mark.parametrize("change", ["size", "dtype", "empty"])
def test_foreground_that_does_not_fit_is_refused(change):
    item = foreground(0, "a")
    image = item.image[:, :-1] if change == "size" else item.image
    saliency = item.saliency / 255 if change == "dtype" else item.saliency
    mask = item.mask & (change != "empty")
    with pytest.raises((ValueError, UserError), match=r"^a: "):
        Foreground(image, mask, saliency, 0, "a")


@pytest.mark.parametrize(("class_name", "source"), [("tv/monitor", "a"), ("..", "a"), ("", "a"), ("cat", "a_sal")])
def test_names_that_would_not_be_found_again_are_refused(class_name, source):
    with pytest.raises(UserError):
        foreground_file(class_name, source)


def test_failed_index_leaves_the_bank_unfinished(tmp_path):
    def entries():
        yield write(tmp_path, foreground(0, "a"))
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_index(tmp_path, entries())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat"]
