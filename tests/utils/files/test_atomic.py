import os
import subprocess
import sys

import pytest

from utils.errors import UserError
from utils.files import atomic
from utils.files.atomic import append_line, atomic_path, read_json, temporary_name, write_json, write_text


@pytest.fixture
def ended_process():
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(folder, pid, host=None):
    """A temporary file with the name that another process would use."""
    name = temporary_name(folder / "a.png").name.replace(str(os.getpid()), str(pid))
    path = folder / (name.replace(f"@{atomic._HOST}", f"@{host}") if host else name)
    path.touch()
    return path


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "scores.json"
    with atomic_path(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_temporary_name_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.touch()


def test_the_next_write_removes_what_a_killed_process_left(tmp_path, ended_process):
    left = left_by(tmp_path, ended_process)
    write_text(tmp_path / "b.txt", "new")
    assert not left.exists() and (tmp_path / "b.txt").exists()


def test_temporary_files_of_running_processes_other_machines_and_users_stay(tmp_path, ended_process):
    kept = [left_by(tmp_path, os.getppid()), left_by(tmp_path, ended_process, host="elsewhere"), tmp_path / ".a.1.tmp"]
    kept[-1].touch()
    write_text(tmp_path / "b.txt", "new")
    assert all(path.exists() for path in kept)


def test_a_killed_process_leaves_the_old_file_and_a_name_that_is_recognised(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    program = (
        "import os\nfrom pathlib import Path\nfrom utils.files.atomic import atomic_path\n"
        f"with atomic_path(Path({str(tmp_path)!r}, 'a.txt')) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=atomic.__file__.rpartition("/utils/")[0], timeout=60)
    assert len(list(tmp_path.iterdir())) == 2 and (tmp_path / "a.txt").read_text() == "old"
    write_text(tmp_path / "b.txt", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_json_reads_back(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", None])
def test_damaged_and_missing_json_is_named_with_the_callers_remedy(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json(path, remedy="run evaluate.py")
    assert error.value.where == str(path)
    assert error.value.remedy == "run evaluate.py" or content is None


def test_lines_are_added_and_a_file_that_cannot_be_written_is_named(tmp_path):
    for text in ("a", "é"):
        append_line(tmp_path / "new" / "log.jsonl", text)
    assert (tmp_path / "new" / "log.jsonl").read_text(encoding="utf-8") == "a\né\n"
    with pytest.raises(UserError) as error:
        append_line(tmp_path / "new", "a")
    assert error.value.where == str(tmp_path / "new")
