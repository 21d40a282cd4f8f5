import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.files import parallel
from utils.files.locate import PROJECT_ROOT
from utils.files.parallel import awaited, parallel_map, run_in_threads


def slow_square(number, *, pause=0.0):
    time.sleep(pause * (5 - number))  # the first items finish last
    return number * number, os.getpid()


def fail_at_three(number):
    if number == 3:
        raise UserError("cannot be read", "a.jpg", remedy="give --overwrite")
    return number


def fail_at_zero(number, *, folder):
    if number == 0:
        raise UserError("item 0")
    time.sleep(0.1)
    (folder / str(number)).touch()


def die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def break_at_three(number):
    return 1 / (number - 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    results = list(parallel_map(partial(slow_square, pause=0.02), range(6), num_workers=workers))
    assert [square for square, _ in results] == [0, 1, 4, 9, 16, 25]
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_error_names_its_item(workers):
    with pytest.raises(UserError) as error:
        list(parallel_map(fail_at_three, range(6), num_workers=workers))
    assert (error.value.where, error.value.remedy) == ("3: a.jpg", "give --overwrite")


def test_an_error_that_names_its_file_needs_no_name_of_an_item_without_one():
    def fail(item):
        raise UserError("is cut", "a.png")

    with pytest.raises(UserError) as caught:
        list(parallel_map(fail, [("b", "c")], num_workers=1))
    assert caught.value.where == "a.png"


def test_unforeseen_error_keeps_its_type_and_names_its_item():
    with pytest.raises(ZeroDivisionError) as caught:
        list(parallel_map(break_at_three, range(6), num_workers=2))
    assert "while processing 3" in caught.value.__notes__


def test_no_items_give_no_results():
    assert list(parallel_map(fail_at_three, [], num_workers=2)) == []


def test_negative_number_of_workers_is_refused():
    with pytest.raises(UserError) as error:
        list(parallel_map(fail_at_three, [1], num_workers=-1))
    assert (error.value.what, error.value.where) == ("-1", "--num_workers")


def test_results_can_be_left_before_the_end():
    results = parallel_map(slow_square, range(100), num_workers=2)
    assert next(results)[0] == 0
    results.close()


def test_error_ends_the_work_before_the_queue_is_empty(tmp_path):
    with pytest.raises(UserError, match="item 0"):
        list(parallel_map(partial(fail_at_zero, folder=tmp_path), range(80), num_workers=2))
    assert len(list(tmp_path.iterdir())) < 30


def test_a_handful_of_items_starts_no_processes_unless_told_to():
    own = {pid for _, pid in parallel_map(slow_square, range(5), num_workers=0)}
    assert own == {os.getpid()}


@pytest.mark.parametrize(("short", "others"), [(0.1, True), (60.0, False)])
def test_processes_start_where_the_rest_takes_longer_than_starting_them(monkeypatch, short, others):
    for name in ("SHORT_WORK", "SHORT_WORK_WITH_TORCH"):
        monkeypatch.setattr(parallel, name, short)
    monkeypatch.setattr(parallel, "worker_count", lambda: 2)
    results = list(parallel_map(pause_and_square, range(24), num_workers=0))
    assert [square for square, _ in results] == [number * number for number in range(24)]
    pids = [pid for _, pid in results]
    assert pids[0] == os.getpid() and (set(pids) != {os.getpid()}) == others


def pause_and_square(number):
    time.sleep(0.05)
    return number * number, os.getpid()


def test_processes_start_in_a_folder_with_modules_of_the_same_name(tmp_path):
    """A user's own utils/ in the current folder must not replace the project's."""
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").touch()
    (tmp_path / "program.py").write_text(
        f"import sys\nsys.path.insert(0, {str(PROJECT_ROOT)!r})\n"
        "from utils.data.image_list import _name_of\nfrom utils.files.parallel import parallel_map\n"
        "if __name__ == '__main__':\n    print(list(parallel_map(_name_of, ['a.jpg', 'b.png'], num_workers=2)))\n"
    )
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "['a', 'b']", done.stderr


def test_a_killed_worker_is_one_error_with_a_remedy():
    start = time.monotonic()
    with pytest.raises(UserError, match=r"killed.*--num_workers=1"):
        list(parallel_map(die_at_three, range(20), num_workers=2))
    assert time.monotonic() - start < 20


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_end_with_a_killed_parent():
    code = (
        "from utils.files.parallel import parallel_map\nfrom tests.utils.files.test_parallel import say_and_sleep\n"
        "list(parallel_map(say_and_sleep, range(2), num_workers=2))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, workers))


def say_and_sleep(number):
    print(f"{os.getpid()}\n", end="", flush=True)
    time.sleep(60)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_jobs_run_beside_the_loop_that_creates_them():
    """A job that waits for the creation of the next one ends."""
    created = threading.Event()

    def jobs():
        yield lambda: created.wait(10) or pytest.fail("jobs are only run when no more are created")
        created.set()
        yield lambda: None

    assert len(list(run_in_threads(jobs(), num_threads=1))) == 2


def test_the_error_of_a_job_is_raised_when_the_next_one_is_created():
    """Also behind one that still runs; what is queued is finished, and no more is created."""
    release, failed, done, created = threading.Event(), threading.Event(), [], []

    def fail():
        failed.set()
        raise UserError("no space left")

    def jobs():
        for number, job in enumerate([lambda: release.wait(10), fail, lambda: done.append(2), lambda: done.append(3)]):
            if number == 2:
                assert failed.wait(10)
                time.sleep(0.1)
                release.set()
            created.append(number)
            yield job

    with pytest.raises(UserError, match="no space left"):
        list(run_in_threads(jobs(), num_threads=2))
    assert created == [0, 1, 2] and done == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_deaths_are_reported_while_a_batch_is_awaited_and_after_the_last(order):
    reported = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: reported.append(number))
    try:
        sources = [awaited(iter([1, 2])) for _ in range(2)]
        assert [next(source) for source in sources] == [1, 1]
        reported.clear()
        os.kill(os.getpid(), signal.SIGCHLD)
        assert reported == []
        for index in order:
            sources[index].close()
        os.kill(os.getpid(), signal.SIGCHLD)
        assert reported == [signal.SIGCHLD]
    finally:
        signal.signal(signal.SIGCHLD, before)
