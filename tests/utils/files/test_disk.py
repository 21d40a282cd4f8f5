"""Errors of the file system, each caused by a real refusal."""

import errno
import os
import subprocess
import sys

import pytest

from utils.errors import UserError
from utils.files.atomic import atomic_path, write_text
from utils.files.disk import disk_errors, list_folder, make_folder, move_file, remove_file, write_refusal
from utils.files.locate import PROJECT_ROOT

WRITERS = {
    "text": "path.write_text('x' * 400_000)",
    "npz": "np.savez_compressed(path, a=noise)",
    "pth": "torch.save({'a': torch.zeros(200_000)}, path)",
    "png": "Image.fromarray(noise).save(path)",
    "jpg": "Image.fromarray(noise).save(path, quality=100)",
}
# a file size limit interrupts a write like a full disk does, and libraries report both in the same way
PROGRAM = """
import resource, sys
import numpy as np, torch
from pathlib import Path
from PIL import Image
from utils.errors import UserError
from utils.files.atomic import atomic_path
noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
for word in sys.argv[2:]:
    kind, _, code = word.partition("=")
    target = Path(sys.argv[1]) / f"a.{kind}"
    try:
        with atomic_path(target) as path:
            exec(code)
    except UserError as error:
        print(error.where == str(target), "ulimit" in error.remedy)
"""


@pytest.mark.slow
def test_a_write_that_ends_in_its_middle_leaves_the_old_file_whatever_library_writes(tmp_path):
    for kind in WRITERS:
        (tmp_path / f"a.{kind}").write_text("old")
    words = [f"{kind}={code}" for kind, code in WRITERS.items()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *words],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split("\n")[:-1] == ["True True"] * len(WRITERS), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a.{kind}" for kind in WRITERS)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


def test_a_file_where_a_folder_belongs_is_named(tmp_path):
    (tmp_path / "file").touch()
    for refused in (lambda: make_folder(tmp_path / "file"), lambda: write_text(tmp_path / "file" / "b" / "c.txt", "")):
        with pytest.raises(UserError) as error:
            refused()
        assert error.value.where == str(tmp_path / "file")


def test_a_folder_where_a_file_belongs_is_named_and_stays(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError) as error:
        write_text(tmp_path / "a.txt", "new")
    assert error.value.where == str(tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(UserError) as error:
        write_text(tmp_path / ("a" * 300), "")
    assert "a" * 300 in error.value.where


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError) as error:
        write_text(tmp_path / "a.txt", "")
    assert error.value.where == str(tmp_path / "a.txt") and "chmod" in error.value.remedy


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_every_refusal_names_path_and_action(tmp_path, number):
    with pytest.raises(UserError, match="listed") as error, disk_errors(tmp_path, "listed"):
        raise OSError(number, os.strerror(number), str(tmp_path))
    assert error.value.where == str(tmp_path) and error.value.remedy


def test_errors_that_are_not_the_file_systems_stay_as_they_are(tmp_path):
    for bug in (OSError("odd"), OSError(errno.EBADF, "closed"), RuntimeError("a shape"), KeyError("a")):
        with pytest.raises(type(bug)) as error, atomic_path(tmp_path / "a.txt"):
            raise bug
        assert error.value is bug
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_is_not_blamed_on_the_one_that_is_written(tmp_path):
    missing = FileNotFoundError(errno.ENOENT, "missing", str(tmp_path / "source.txt"))
    assert write_refusal(missing, tmp_path / ".a.tmp", tmp_path / "a") is None


def test_listing_moving_and_removing_name_what_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").touch()
    assert [path.name for path in list_folder(tmp_path)] == ["a", "b"]
    for refused, path in (
        (lambda: list_folder(tmp_path / "none"), tmp_path / "none"),
        (lambda: move_file(tmp_path / "b", tmp_path / "a"), tmp_path / "a"),
        (lambda: remove_file(tmp_path / "a"), tmp_path / "a"),
    ):
        with pytest.raises(UserError) as error:
            refused()
        assert error.value.where == str(path)
    remove_file(tmp_path / "none")
    move_file(tmp_path / "b", tmp_path / "c")
    assert not (tmp_path / "b").exists() and (tmp_path / "c").exists()
