"""One function over many items on many processes, with a progress bar; jobs in threads behind the network."""

import ctypes
import math
import multiprocessing
import multiprocessing.queues
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from tqdm import tqdm

from utils.errors import UserError
from utils.files.cores import worker_count

# with fewer items a process, starting it takes longer than it saves
ITEMS_PER_PROCESS = 8

SHARED_MEMORY = "/dev/shm"
PR_SET_PDEATHSIG = 1  # of prctl(2)

SLOW_IMPORTS = ("numpy", "cv2", "PIL.Image", "numba", "torch", "torchvision")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def parallel_map(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, num_workers: int = 0, description: str = ""
) -> Iterator[ResultT]:
    """Yields function(item) in the order of `items`, computed on num_workers processes.

    0 is one a core, and fewer for a handful of items; 1 computes in this process. `function` must be picklable: a
    module's function, or functools.partial of one. An error stops the work and names its item. Raises UserError for
    a negative number of workers.
    """
    if num_workers < 0:
        raise UserError(str(num_workers), "--num_workers", "0 (one per core) or more")
    if not items:
        return
    if num_workers == 0:
        num_workers = min(worker_count(), math.ceil(len(items) / ITEMS_PER_PROCESS))
    num_workers = min(num_workers, len(items))
    call = partial(_call, function)
    # mininterval: a log file gets a line every few seconds and not ten a second
    interval = 0.1 if sys.stderr.isatty() else 5.0
    with tqdm(total=len(items), desc=description, unit="image", mininterval=interval) as bar:
        for result in map(call, items) if num_workers == 1 else _in_processes(call, items, num_workers):
            bar.update()
            yield result


def _in_processes(call: Callable, items: Sequence, num_workers: int) -> Iterator:
    context = _context()
    check_semaphores(num_workers, remedy="give --num_workers=1, or more shared memory (docker run --shm-size=1g)")
    stop = context.Event()
    executor = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker, initargs=(stop,))
    # small enough that the last chunk keeps no process busy alone, large enough that messages cost nothing
    chunk = max(1, min(8, len(items) // (4 * num_workers)))
    try:
        with worker_ends(remedy="give --num_workers=1, or more memory"):
            yield from executor.map(call, items, chunksize=chunk)
    finally:
        stop.set()  # after an error or Ctrl-C, workers end after their present item and not after their queue
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def worker_ends(*, remedy: str) -> Iterator[None]:
    """Turns the end of a worker process that was killed, or that cannot hand over its work, into a UserError.

    torch notices it by a signal, and raises in whatever the main process is doing: what uses batches stands inside.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError("a worker process was killed, as systems do where memory is short", remedy=remedy) from error
    except RuntimeError as error:
        if not re.search(r"DataLoader worker \(pid", str(error)):
            raise
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise UserError(f"a process that reads images ended ({reason})", remedy=remedy) from error


def check_semaphores(num_workers: int, *, remedy: str) -> None:
    """Raises UserError where the system has no shared memory for what num_workers processes share.

    A semaphore takes a page of it; libraries that find none leave half of themselves behind.
    """
    if num_workers == 0:
        return
    try:
        # three for each of the queues, one of them for results, and an event's
        held = [multiprocessing.get_context().Semaphore() for _ in range(3 * (num_workers + 1) + 6)]
    except OSError as error:
        raise UserError(f"worker processes cannot be started ({error})", SHARED_MEMORY, remedy=remedy) from error
    del held


def _context() -> multiprocessing.context.BaseContext:
    """Workers fork from a clean server, not from this process: its threads and its GPU would not survive a fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # imported once and not once a worker; the project's own modules are not: the server looks in the current folder
    # first, where another project may have a folder of the same name
    context.set_forkserver_preload([name for name in SLOW_IMPORTS if name in sys.modules])
    return context


_stop: Any = None  # in a worker process: the event that ends it


def _start_worker(stop: Any) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which then ends its workers
    # a signal at the parent's death would not do: the parent is the server, which lives as long as its workers
    Thread(target=_end_after_parent, daemon=True).start()
    limit_threads(1)


def _end_after_parent() -> None:
    """Waits for the end of the process whose work this one does, and ends too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def limit_threads(count: int) -> None:
    """Keeps OpenCV and torch, where loaded, to `count` threads, so that N processes do not fight over N cores."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _call(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt
    try:
        return function(item)
    except Exception as error:
        name: Any = getattr(item, "name", item)
        if str(name) in str(error):
            raise
        if isinstance(error, UserError):
            if error.where and not isinstance(name, (str, int, os.PathLike)):
                raise  # the file that it names says more than all files of the item
            raise error.at(name) from error
        error.add_note(f"while working on {name}")
        raise


def run_in_threads(jobs: Iterator[Callable[[], None]], *, num_threads: int) -> Iterator[None]:
    """Runs the jobs in threads while the next are made; at most four a thread wait, so that memory stays bounded."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(num_threads) as threads:
        for job in jobs:
            waiting.append(threads.submit(job))
            while len(waiting) > 4 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def start_reader(_worker: int = 0) -> None:
    """Prepares a process that reads images for the main process, which alone ends it.

    Ctrl-C and torchrun signal the workers too; the main process needs them until its checkpoint is written. They end
    with it however it ends.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    # what cannot be sent would be dropped, and the main process would wait for it forever: an end is noticed
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[attr-defined]


def _end_unsent(error: BaseException, _item: object) -> None:
    print(f"a worker process cannot hand over what it read: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def end_with_parent() -> None:
    """Has this process killed when the one that started it is gone (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it was gone before that took effect
        os._exit(1)
