"""Arrays kept in memory: read once, up to a limit, and not sent to other processes."""

import pickle

import numpy as np

from utils.data.kept import Kept


def reader(read, name):
    def read_one():
        read.append(name)
        return np.full(100, len(read), np.uint8), None

    return read_one


def test_a_key_is_read_once():
    kept, read = Kept(), []
    first = kept.get("a", reader(read, "a"))
    assert kept.get("a", reader(read, "a"))[0] is first[0]
    assert read == ["a"] and first[0][0] == 1 and first[1] is None


def test_what_no_longer_fits_is_read_each_time_and_drops_nothing():
    kept, read = Kept(limit=250), []
    for _ in range(2):
        for name in "abc":
            kept.get(name, reader(read, name))
    assert read == ["a", "b", "c", "c"]


def test_another_process_keeps_its_own():
    kept = Kept(limit=150)
    kept.get("a", reader([], "a"))
    copy, read = pickle.loads(pickle.dumps(kept)), []
    copy.get("b", reader(read, "b"))
    assert len(pickle.dumps(kept)) < 200 and (copy.size, copy.limit, read) == (100, 150, ["b"])
