"""Photos given by a pattern: what is passed over is said."""

import os

import pytest

from deeplabv2.photos import photos_of
from tests.small_downloads import photo
from utils.errors import UserError


def test_patterns_leave_out_what_systems_put_beside_photos(tmp_path, capsys):
    for name in ("a.jpg", "b/c.jpg", "b/@eaDir/c.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/d.jpg", "b/.hidden.jpg"):
        photo(tmp_path / name)
    assert set(photos_of(str(tmp_path / "**" / "*.jpg"), tmp_path / "out")) == {"a", "b/c"}
    assert "2 photos of system folders" in capsys.readouterr().err
    with pytest.raises(UserError, match="matches no photo"):
        photos_of(str(tmp_path / "*.gif"), tmp_path / "out")


def test_results_are_not_written_beside_the_photos_whose_labels_would_then_be_photos(tmp_path):
    photo(tmp_path / "p" / "a.jpg")
    with pytest.raises(UserError, match="--image_dir"):
        photos_of(str(tmp_path / "p"), tmp_path / "p")
    assert set(photos_of(str(tmp_path / "p"), tmp_path / "p" / "out")) == {"a"}
    assert set(photos_of(str(tmp_path / "p" / "a.jpg"), tmp_path / "p")) == {"a"}


def test_a_pattern_over_folders_names_one_that_cannot_be_read(tmp_path, monkeypatch):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b" / "c.jpg")
    listed = os.scandir

    def scandir(path="."):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=f"{tmp_path}/b"):
        photos_of(str(tmp_path / "**" / "*.jpg"), tmp_path / "out")
