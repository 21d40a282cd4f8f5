import os
import signal

import pytest

from utils.errors import UserError
from utils.files.lock import LOCK, hold


def child_that_holds(folder):
    """Start a process that locks the folder until it is killed. Returns its id."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        with hold(folder):
            os.write(theirs, b".")
            signal.pause()
    assert os.read(ours, 1) == b"."
    return child


def test_a_folder_is_held_by_one_process_and_free_when_it_is_killed(tmp_path):
    child = child_that_holds(tmp_path / "run")
    with pytest.raises(UserError, match=f"process {child} on ") as error, hold(tmp_path / "run"):
        pass
    assert error.value.where == str(tmp_path / "run")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with hold(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).is_file()
    assert list((tmp_path / "run").iterdir()) == []


def test_the_first_of_torchruns_processes_holds_for_all(tmp_path, monkeypatch):
    child = child_that_holds(tmp_path)
    monkeypatch.setenv("RANK", "1")
    with hold(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
