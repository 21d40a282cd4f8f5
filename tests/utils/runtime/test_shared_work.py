"""Processes that divide the items of a step and talk through files: here as threads."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from utils.errors import UserError
from utils.runtime import shared_work
from utils.runtime.rank import Rank, read_rank
from utils.runtime.shared_work import MEETING, SharedWork, share_work

ITEMS = list("abcdefg")


@pytest.fixture(autouse=True)
def no_lock(monkeypatch):
    """Threads of one process cannot hold the lock of one folder twice; of rank 1, hold asks for none."""
    monkeypatch.setenv("RANK", "1")


def take_part(place, folder):
    with share_work(folder, place) as work:
        told = work.from_main([1, "two"] if work.is_main else None)
        joined = work.gather_items([item * 2 for item in work.own(ITEMS)])
        return told, joined, work.gather(work.rank)


def run_all(folder, count):
    with ThreadPoolExecutor(count) as threads:
        places = [Rank(rank, count, job="job") for rank in range(count)]
        return list(threads.map(lambda place: take_part(place, folder), places))


@pytest.mark.parametrize("count", [2, 3])
def test_items_are_divided_and_come_back_in_order(tmp_path, count):
    main, *others = run_all(tmp_path, count)
    assert main == ([1, "two"], [item * 2 for item in ITEMS], list(range(count)))
    assert others == [([1, "two"], [], [])] * (count - 1)
    assert not (tmp_path / MEETING).exists()


def test_a_main_process_that_starts_late_hears_those_that_only_send(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_work, "PATIENCE", 5.0)

    def only_send(rank):
        time.sleep(0 if rank else 0.5)
        with share_work(tmp_path, Rank(rank, 2, job="job")) as work:
            return work.gather(rank)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(only_send, (0, 1))) == [[0, 1], []]


def test_what_no_process_has_done_is_divided_and_counts_are_summed(tmp_path):
    """Each of two processes has done one item; the other five are divided."""

    def finish(rank):
        with share_work(tmp_path, Rank(rank, 2, job="job")) as work:
            own = list(work.remaining(ITEMS, ["b" if rank else "g"]))
            counts = np.array([len(own), rank + 1])
            work.add_up(counts)
            work.barrier()
            return own, counts.tolist()

    with ThreadPoolExecutor(2) as threads:
        (first, sums), (second, unchanged) = threads.map(finish, (0, 1))
    assert (first, second) == (["a", "d", "f"], ["c", "e"])
    assert sums == [5, 3] and unchanged == [2, 2]


def test_one_process_needs_no_files(tmp_path):
    with share_work(tmp_path, Rank()) as work:
        assert (work.own(ITEMS), work.gather_items(ITEMS), work.from_main(3)) == (ITEMS, ITEMS, 3)
    assert not any(tmp_path.iterdir())


def test_more_processes_than_items(tmp_path):
    works = [SharedWork(Rank(rank, 9), tmp_path) for rank in range(9)]
    assert [len(work.own(ITEMS)) for work in works] == [1] * 7 + [0] * 2


def test_messages_of_a_killed_job_are_not_believed(tmp_path):
    folder = tmp_path / MEETING
    folder.mkdir()
    for rank in (0, 1):
        sign = {"job": "job", "token": "old", "seen": {"0": "old", "1": "old"}, "number": 7}
        (folder / f"{rank}.json").write_text(json.dumps(sign))
        for number in (0, 1, 2):
            (folder / f"{rank}.{number}.json").write_text(json.dumps({"token": "old", "content": ["wrong"]}))
    (folder / "1.json").write_text("[]")  # of something else
    (folder / "1.0.json").write_text("7")
    main, other = run_all(tmp_path, 2)
    assert main[0] == other[0] == [1, "two"] and main[1] == [item * 2 for item in ITEMS]


def test_a_process_without_a_sign_of_life_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_work, "PATIENCE", 0.3)
    with pytest.raises(UserError, match=r"no sign of process 1 of 2 .*all machines must see this folder"):
        take_part(Rank(0, 2, job="job"), tmp_path)


def test_an_incomplete_environment_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"RANK=2 of WORLD_SIZE=2.*ranks count from 0"):
        read_rank()
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(UserError, match="without MASTER_PORT"):
        read_rank()
