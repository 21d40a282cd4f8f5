"""Files are linked or copied into a dataset, once."""

import os

import pytest

from utils.errors import UserError
from utils.files.linking import link_all, place


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_text("four")
    return tmp_path / "source"


@pytest.mark.parametrize("copy", [False, True])
def test_a_placed_file_is_kept(source, tmp_path, copy):
    target = tmp_path / "data" / "file"
    place(source, target, copy=copy)
    stamp = target.lstat().st_mtime_ns
    place(source, target, copy=copy)
    assert target.read_text() == "four" and target.is_symlink() != copy and target.lstat().st_mtime_ns == stamp


def test_a_link_that_leads_nowhere_is_replaced(source, tmp_path):
    target = tmp_path / "file"
    target.symlink_to(tmp_path / "moved")
    place(source, target, copy=False)
    assert target.read_text() == "four"


def test_a_link_becomes_a_copy_that_outlives_its_source(source, tmp_path):
    target = tmp_path / "file"
    place(source, target, copy=False)
    place(source, target, copy=True)
    source.unlink()
    assert target.read_text() == "four"


def test_a_copy_of_what_was_changed_since_is_renewed(source, tmp_path):
    target = tmp_path / "file"
    place(source, target, copy=True)
    source.write_text("five")
    os.utime(source, ns=(target.stat().st_mtime_ns + 10**9,) * 2)
    place(source, target, copy=True)
    assert target.read_text() == "five"


def test_nothing_is_placed_where_something_else_is(source, tmp_path):
    (tmp_path / "b").write_text("another")
    with pytest.raises(UserError, match=r"b: .*--out"):
        link_all({tmp_path / "a": source, tmp_path / "b": source}, copy=True, num_workers=1, description="")
    assert not (tmp_path / "a").exists()
