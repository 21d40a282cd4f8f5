"""Finding photos: what counts as one, and that nothing is skipped silently."""

import os

import pytest

from utils.data.photo_files import find_photos
from utils.errors import UserError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found_names(folder, **more):
    return [path.relative_to(folder).as_posix() for path in find_photos(folder, **more).photos]


def test_photos_of_any_suffix_case_and_folder_are_found_in_order(tmp_path):
    names = ["a.Jpg", "b/c.WEBP", "b/d/e.HEIC", "b/f.tif", "g.bmp", "h.GIF", "i.jfif"]
    touch(tmp_path, *names)
    assert found_names(tmp_path) == sorted(names)


def test_what_systems_leave_and_other_files_are_left_out_and_counted(tmp_path):
    touch(
        tmp_path,
        "cat/a.jpg",
        "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/._a.jpg",
        "Thumbs.db",
        "#recycle/b.jpg",
        ".hidden/c.jpg",
        "._a.jpg",
        "notes.txt",
        "raw.CR2",
    )
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = find_photos(tmp_path)
    assert [path.name for path in found.photos] == ["a.jpg"]
    assert (found.of_system, found.hidden, found.others) == (4, 2, {".txt": 1, ".cr2": 1})
    assert found.broken_links == [tmp_path / "gone.jpg"]
    notes = "\n".join(found.notes())
    for part in ("4 system files and folders", "2 hidden", "1 .txt", "1 .cr2", "gone.jpg"):
        assert part in notes, part


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    touch(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "cat" / "up").symlink_to(tmp_path / "photos")
    assert found_names(tmp_path / "photos") == ["linked/a.jpg"]


def test_named_folders_are_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "masks/a.png")
    assert found_names(tmp_path, without=[tmp_path / "masks"]) == ["a.jpg"]


def test_every_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg", "emu/c.jpg")
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith(("cat", "dog")):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("utils.data.photo_files.os.scandir", refuse)
    with pytest.raises(UserError, match=r"2 folders.*cat.*dog|2 folders.*dog.*cat"):
        find_photos(tmp_path)
