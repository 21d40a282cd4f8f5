"""Files of two settings never stand in one folder."""

import os

import pytest

from utils.made_with import is_current, read_record, start_folder


def start(folder, settings, *, may_replace=False):
    return start_folder(folder, settings, suffix=".npz", may_replace=may_replace, remedy="choose another folder")


def test_the_same_settings_keep_the_files(tmp_path):
    assert start(tmp_path, {"weights": "a", "mean": (1, 2)}) == 0
    (tmp_path / "x.npz").touch()
    assert start(tmp_path, {"weights": "a", "mean": (1, 2)}) == 0
    assert (tmp_path / "x.npz").exists() and read_record(tmp_path) == {"weights": "a", "mean": [1, 2]}


def test_other_settings_replace_the_files_where_they_may(tmp_path):
    start(tmp_path, {"weights": "a", "amp": "off"})
    (tmp_path / "x.npz").touch()
    (tmp_path / "note.txt").touch()
    with pytest.raises(FileExistsError, match=r"other settings \(weights: a then, b now\): choose another folder"):
        start(tmp_path, {"weights": "b", "amp": "off"})
    assert (tmp_path / "x.npz").exists() and read_record(tmp_path)["weights"] == "a"
    assert start(tmp_path, {"weights": "b", "amp": "off"}, may_replace=True) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["note.txt", "settings.json"]
    assert read_record(tmp_path)["weights"] == "b"


def test_files_that_nothing_is_known_of_are_never_removed(tmp_path):
    (tmp_path / "x.npz").touch()
    with pytest.raises(FileExistsError, match=r"1 \.npz files, but no settings\.json"):
        start(tmp_path, {"weights": "a"}, may_replace=True)
    assert (tmp_path / "x.npz").exists()


def test_a_file_is_current_if_it_is_not_older_than_its_sources(tmp_path):
    made, source = tmp_path / "made", tmp_path / "source"
    source.touch()
    assert not is_current(made, source)
    made.touch()
    os.utime(source, (100, 100))
    assert is_current(made, source)
    os.utime(made, (50, 50))
    assert not is_current(made, source)
