import os

import numpy as np
import pytest
from PIL import Image

from utils.cam.artefact import read_cam, write_cam
from utils.data.images import read_label, write_image, write_label_png
from utils.errors import UserError
from utils.files.sources import digest_of, is_made_from, note_digest, outdated, sizes_digest, to_do

LABEL = np.arange(12, dtype=np.uint8).reshape(3, 4)
WRITERS = {
    "a.png": lambda path, digest: write_label_png(path, LABEL, made_from=digest),
    "grey.png": lambda path, digest: write_label_png(path, LABEL, palette=False, made_from=digest),
    "a.jpg": lambda path, digest: write_image(path, np.zeros((3, 4, 3), np.uint8), made_from=digest),
    "a.npz": lambda path, digest: write_cam(path, [1], LABEL[None], made_from=digest),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_current_by_what_its_sources_hold_and_not_by_dates(tmp_path, name):
    source, made = tmp_path / "source", tmp_path / name
    source.write_bytes(b"one")
    assert not is_made_from(made, source)
    WRITERS[name](made, digest_of(source))
    for seconds in (100, 2_000_000_000, 4_000_000_000):  # a camera's clock, or a drive's
        os.utime(source, (seconds, seconds))
        assert is_made_from(made, source)
    source.write_bytes(b"two")
    os.utime(source, (100, 100))  # replaced by an older file
    assert not is_made_from(made, source)
    assert outdated([(made, (source,)), (tmp_path / "none", (source,))]) == [True, True]


def test_a_digest_of_sizes_needs_no_clock(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(b"one")
    before = sizes_digest(files)
    os.utime(files[0], (100, 100))
    assert sizes_digest(files) == before
    files[0].write_bytes(b"three")
    assert sizes_digest(files) != before
    with pytest.raises(UserError, match="none"):
        sizes_digest([tmp_path / "none"])


@pytest.mark.parametrize("name", WRITERS)
def test_a_note_changes_nothing_that_readers_see(tmp_path, name):
    plain, noted = tmp_path / "plain" / name, tmp_path / name
    WRITERS[name](plain, "")
    WRITERS[name](noted, "0" * 32)
    assert plain.read_bytes() != noted.read_bytes()
    if name.endswith(".npz"):
        assert all(map(np.array_equal, read_cam(plain), read_cam(noted)))
        with np.load(noted) as arrays:
            assert set(arrays.files) == {"keys", "cams"}
    elif name.endswith(".png"):
        assert np.array_equal(read_label(noted), LABEL)
        assert Image.open(noted).getpalette() == Image.open(plain).getpalette()
    else:
        assert np.array_equal(np.asarray(Image.open(noted)), np.asarray(Image.open(plain)))


def test_a_file_without_a_note_is_made_again_if_it_is_older_than_its_sources(tmp_path):
    made, source = tmp_path / "a.png", tmp_path / "source"
    source.write_bytes(b"one")
    write_label_png(made, LABEL)
    assert is_made_from(made, source)
    os.utime(made, (50, 50))
    assert not is_made_from(made, source)


def test_sources_are_told_apart_by_where_one_ends(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"ab")
    other.write_bytes(b"c")
    before = digest_of(one, other)
    one.write_bytes(b"a")
    other.write_bytes(b"bc")
    assert digest_of(one, other) != before


def test_a_note_needs_a_format_that_holds_one(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text")
    with pytest.raises(ValueError):
        note_digest(tmp_path / "a.txt", "0" * 32)


def test_what_is_still_to_be_made_keeps_its_order(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("as it is")
    done = tmp_path / "done.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(done)
    note_digest(done, digest_of(source))
    assert to_do(["new", "done", "old"], lambda name: (tmp_path / f"{name}.png", source)) == ["new", "old"]
    assert to_do([], lambda name: (tmp_path / name, source)) == []
