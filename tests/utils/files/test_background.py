"""Work on items beside the program: results, errors, and the end of the workers."""

import os
import signal
import time
from functools import partial

import pytest

from utils.errors import UserError
from utils.files.background import in_background


def note(number, *, folder, pause=0.0):
    time.sleep(pause)
    with (folder / str(number)).open("a") as file:
        file.write("x")
    return number * number, os.getpid()


def fail_at_zero(number):
    if number == 0:
        raise UserError("cannot be read", "a.jpg")
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened while the block ran"
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_worked_on_while_the_block_runs_and_the_others_at_the_end(tmp_path, workers):
    with in_background(partial(note, folder=tmp_path), num_items=4, num_workers=workers) as background:
        background.add(2)
        wait_for(lambda: (tmp_path / "2").exists())
        results = background.finish([3, 2, 1, 0])
    assert [square for square, _ in results] == [9, 4, 1, 0]
    assert {(tmp_path / str(number)).read_text() for number in range(4)} == {"x"}  # once each
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_an_item_is_raised_when_the_next_is_added(workers):
    added = 0
    with (
        in_background(fail_at_zero, num_items=10_000, num_workers=workers) as background,
        pytest.raises(UserError) as error,
    ):
        for added in range(10_000):
            background.add(added)
            time.sleep(0.01)
    assert error.value.where == "0: a.jpg" and added < 9_999


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_program_drops_what_is_queued(tmp_path, workers):
    work = partial(note, folder=tmp_path, pause=0.1)
    with (
        pytest.raises(KeyboardInterrupt),
        in_background(work, num_items=80, num_workers=workers) as background,
    ):
        for number in range(80):
            background.add(number)
        wait_for(lambda: (tmp_path / "0").exists())
        raise KeyboardInterrupt
    assert len(list(tmp_path.iterdir())) < 30


def test_a_killed_worker_is_one_error_with_a_remedy():
    with (
        pytest.raises(UserError, match=r"killed.*--num_workers=1"),
        in_background(die, num_items=2, num_workers=2) as background,
    ):
        background.finish([0, 1])


def test_a_handful_of_items_starts_no_processes(tmp_path):
    with in_background(partial(note, folder=tmp_path), num_items=5) as background:
        assert {pid for _, pid in background.finish(range(5))} == {os.getpid()}
