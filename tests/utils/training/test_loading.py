"""Worker processes that read samples ignore signals to the run, but end with it."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from utils.errors import UserError
from utils.files.parallel import worker_ends
from utils.training import loading
from utils.training.loading import read_ahead
from utils.training.sampling import Batches
from utils.training.settings import Sampling


class Numbers:
    """Sample `index` contains its number; `broken` raises, `slow` never ends."""

    def __init__(self, count, *, broken=None, slow=None):
        self.count, self.broken, self.slow = count, broken, slow

    def __len__(self):
        return self.count

    def __getitem__(self, key):
        _, index = key
        if index == self.slow:
            time.sleep(1000)
        if index == self.broken:
            raise UserError("cannot be read", f"{index}.jpg", remedy="replace it")
        return {"number": torch.tensor(index)}


def reading(samples, *, workers, steps=50):
    sampling = Sampling(batch_size=2, accumulate=1, seed=0, whole_epochs=True)
    return read_ahead(samples, Batches(len(samples), sampling, steps=(0, steps)), num_workers=workers, pin=False)


def children():
    """Return the process ids of this process's children."""
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return {int(pid) for pid in path.read_text().split()}


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_read_is_the_same_error_for_any_number_of_workers(workers):
    with pytest.raises(UserError) as caught, reading(Numbers(10, broken=3), workers=workers, steps=5) as batches:
        list(batches)
    assert (caught.value.where, caught.value.remedy) == (
        "3.jpg",
        "replace it; scripts/check_data.py finds all such files",
    )


@needs_proc
def test_workers_are_gone_when_the_block_ends_by_an_error():
    before = children()
    with pytest.raises(KeyError), reading(Numbers(100), workers=2) as batches:
        next(batches)
        assert len(children() - before) == 2
        raise KeyError
    assert children() - before == set()


@needs_proc
def test_a_worker_that_hangs_is_killed():
    before, start = children(), time.monotonic()
    slow = next(iter(Batches(100, Sampling(2, 1, 0, True), steps=(1, 2))))[0][1]
    with pytest.raises(KeyError), reading(Numbers(100, slow=slow), workers=2) as batches:
        next(batches)
        raise KeyError
    assert children() - before == set()
    assert time.monotonic() - start < 5


@needs_proc
@pytest.mark.parametrize("is_waiting", [True, False])
def test_a_killed_worker_is_one_error_where_a_batch_is_needed(is_waiting):
    """Not while a checkpoint is written: an error inside torch.save aborts the process."""
    others = children()
    killed = pytest.raises(UserError, match=r"ended.*--num_workers=0")
    worked = False
    with killed, reading(Numbers(1000), workers=2, steps=400) as batches:
        next(batches)
        os.kill(max(children() - others), signal.SIGKILL)
        deadline = time.monotonic() + 1
        while not is_waiting and time.monotonic() < deadline:
            torch.save({"number": torch.ones(9)}, io.BytesIO())
        worked = True
        for _ in range(50):
            next(batches)
            time.sleep(0.05)
    assert worked


class KilledWhileAsking(Numbers):
    """A worker is killed while it asks torch's event whether to end, and holds the lock of it, if there is one."""

    def __getitem__(self, key):
        if key[1] == self.slow:
            frame = sys._getframe()
            while "done_event" not in frame.f_locals:  # of torch's loop of a worker
                frame = frame.f_back
            if hasattr(frame.f_locals["done_event"], "_cond"):
                frame.f_locals["done_event"]._cond.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


@needs_proc
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_while_it_asks_whether_to_end_keeps_nobody_waiting(workers):
    before, first = children(), next(iter(Batches(100, Sampling(2, 1, 0, True), steps=(0, 1))))[0][1]
    samples = KilledWhileAsking(100, slow=first)
    with pytest.raises(UserError, match=r"ended.*--num_workers=0"), reading(samples, workers=workers) as batches:
        next(batches)
    assert children() - before == set()


def test_arrays_are_collated_without_shared_memory(monkeypatch):
    """In a worker process, torch's collation creates each batch in a file of shared memory."""

    def fail(*args):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(loading, "default_collate", fail)
    with reading(Numbers(10), workers=2, steps=5) as batches:
        assert sorted(torch.cat([batch["number"] for batch in batches]).tolist()) == list(range(10))
    with pytest.raises(UserError, match=r"No space left.*--num_workers=0"), worker_ends(remedy=loading.REMEDY):
        fail()


@needs_proc
def test_workers_outlive_the_signals_that_ask_the_run_to_stop():
    before = children()
    with reading(Numbers(100), workers=1) as batches:
        next(batches)
        (worker,) = children() - before
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker, number)
        assert len(list(batches)) == 49


@pytest.mark.slow
@needs_proc
def test_workers_end_with_a_killed_parent():
    root = str(Path(__file__).parents[3])
    code = (
        "from tests.utils.training.test_loading import Numbers, children, reading\nimport time\n"
        "with reading(Numbers(100), workers=2) as batches:\n"
        "    next(batches)\n    print(*children(), flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert len(workers) == 2
    deadline = time.monotonic() + 3  # torch's own watchdog checks every five seconds
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in workers if is_running(pid)] == []
