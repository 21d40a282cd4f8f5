"""Map a function over items in parallel processes with a progress bar, and run jobs in threads beside the network."""

import ctypes
import math
import multiprocessing
import multiprocessing.queues
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from threading import Thread, current_thread, main_thread
from typing import Any, TypeVar

from tqdm import tqdm

from utils.errors import UserError
from utils.files.cores import worker_count
from utils.files.shared_flag import SharedFlag

# with fewer items per process, starting it takes longer than it saves
ITEMS_PER_PROCESS = 8
# seconds of work that start no processes, which take as long to import what they need; with torch, longer
SHORT_WORK, SHORT_WORK_WITH_TORCH = 1.0, 5.0
TRIAL = 0.2  # seconds after which the rest is estimated

SHARED_MEMORY = "/dev/shm"
SHARED_FILE = "</torch_"  # in torch's errors about a file in shared memory
WORKERS_REMEDY = "give --num_workers=1, or more memory"
PR_SET_PDEATHSIG = 1  # of prctl(2)

SLOW_IMPORTS = ("numpy", "cv2", "PIL.Image", "numba", "torch", "torchvision")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def parallel_map(
    function: Callable[[ItemT], ResultT],
    items: Sequence[ItemT],
    *,
    num_workers: int = 0,
    description: str = "",
    programs: int = 1,
    quiet: bool = False,
) -> Iterator[ResultT]:
    """Yield function(item) in the order of `items`, computed in num_workers processes.

    num_workers: 0 is one per core, none for what this process does in a second; 1 computes in this process. programs:
    number of programs that share this machine's cores, this one included. quiet: no progress bar. function must be
    picklable: a module-level function or a functools.partial of one. An error stops the work and names its item.
    Raises UserError if num_workers is negative.
    """
    may_choose = num_workers == 0
    num_workers = process_count(num_workers, len(items), programs=programs)
    if not items:
        return
    call = partial(call_on, function)
    work: Callable[..., Iterator] = _first_here if may_choose else _in_processes
    with progress_bar(len(items), description, quiet=quiet) as bar:
        for result in map(call, items) if num_workers == 1 else work(call, items, num_workers):
            bar.update()
            yield result


def process_count(num_workers: int, num_items: int, *, programs: int = 1) -> int:
    """Return the number of processes for a number of items, see parallel_map. Raises UserError if it is negative."""
    if num_workers < 0:
        raise UserError(str(num_workers), "--num_workers", "0 (one per core) or more")
    if num_workers == 0:
        num_workers = min(max(1, worker_count() // programs), math.ceil(num_items / ITEMS_PER_PROCESS))
    return max(1, min(num_workers, num_items))


def progress_bar(total: int, description: str, *, quiet: bool = False) -> tqdm:
    """Return a bar over images. In a log file it writes one line every few seconds instead of ten per second."""
    interval = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(total=total, desc=description, unit="image", mininterval=interval, disable=quiet)


def _first_here(call: Callable, items: Sequence, num_workers: int) -> Iterator:
    """Compute in this process, until the rest is found to take longer than starting others."""
    short = SHORT_WORK_WITH_TORCH if "torch" in sys.modules else SHORT_WORK
    spent = 0.0
    for done, item in enumerate(items):
        if spent > TRIAL and spent / done * (len(items) - done) > short:
            yield from _in_processes(call, items[done:], num_workers)
            return
        began = time.perf_counter()
        result = call(item)
        spent += time.perf_counter() - began
        yield result


def _in_processes(call: Callable, items: Sequence, num_workers: int) -> Iterator:
    # small enough that all processes finish together, large enough that messages cost nothing
    chunk = max(1, min(8, len(items) // (4 * num_workers)))
    with worker_processes(num_workers) as executor, worker_ends(remedy=WORKERS_REMEDY):
        yield from executor.map(call, items, chunksize=chunk)


@contextmanager
def worker_processes(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes as work comes, which end with the block: after an error, after their current item."""
    context = _context()
    check_semaphores(num_workers, remedy="give --num_workers=1, or more shared memory (docker run --shm-size=1g)")
    stop = SharedFlag(context)
    executor = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker, initargs=(stop,))
    try:
        yield executor
    finally:
        stop.set()  # after an error or Ctrl-C, workers end after their current item instead of their queue
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def worker_ends(*, remedy: str) -> Iterator[None]:
    """Convert the death of a worker process, or its failure to send its work, to a UserError."""
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError("a worker process was killed, as systems do when memory runs out", remedy=remedy) from error
    except RuntimeError as error:
        if SHARED_FILE in str(error):  # the worker's traceback, then its error
            reason = str(error).strip().splitlines()[-1]
        elif re.search(r"DataLoader worker \(pid", str(error)):
            reason = " ".join(str(error).split()).partition(". ")[0]
        else:
            raise
        raise UserError(f"a process that reads images ended ({reason})", remedy=remedy) from error


def awaited(source: Iterator[ItemT]) -> Iterator[ItemT]:
    """Yield the batches of a DataLoader's iterator. A worker's death raises RuntimeError only while one is awaited.

    torch itself raises it from a signal handler, wherever the main process is: a checkpoint that is being written is
    lost, and if C++ code is writing it, the process aborts.
    """
    raise_if_dead = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    if not callable(raise_if_dead) or current_thread() is not main_thread():
        yield from source
        return
    is_waiting, is_over = False, False

    def handle(number: int, frame: Any) -> None:
        # when over, another iterator that began later may still have this handler to restore
        if is_waiting or is_over:
            raise_if_dead(number, frame)

    signal.signal(signal.SIGCHLD, handle)
    try:
        while True:
            is_waiting = True
            raise_if_dead(signal.SIGCHLD, None)  # a worker may have died since the last batch
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                is_waiting = False
            yield batch
    finally:
        is_over = True
        if signal.getsignal(signal.SIGCHLD) is handle and current_thread() is main_thread():
            signal.signal(signal.SIGCHLD, raise_if_dead)


def check_semaphores(num_workers: int, *, remedy: str) -> None:
    """Raise UserError if there is too little shared memory for the queues of num_workers processes.

    Each semaphore needs a page of it. Libraries that fail to create one leave some of their processes behind.
    """
    if num_workers == 0:
        return
    try:
        # three per queue: one per worker, one for results
        held = [multiprocessing.get_context().Semaphore() for _ in range(3 * (num_workers + 1))]
    except OSError as error:
        raise UserError(f"worker processes cannot be started ({error})", SHARED_MEMORY, remedy=remedy) from error
    del held


def _context() -> multiprocessing.context.BaseContext:
    """Return the forkserver context: this process's threads and CUDA context would not survive a fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once instead of once per worker. Not the project's own modules: the server searches the current folder
    # first, which may contain another project's folder of the same name.
    context.set_forkserver_preload([name for name in SLOW_IMPORTS if name in sys.modules])
    return context


_stop: SharedFlag | None = None  # in a worker process: asks it to end


def _start_worker(stop: SharedFlag) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which then ends its workers
    # a signal on the parent's death would not work: the parent is the forkserver, which lives as long as its workers
    Thread(target=_end_after_parent, daemon=True).start()
    limit_threads(1)


def _end_after_parent() -> None:
    """Wait for the end of the main process, then exit."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def limit_threads(count: int) -> None:
    """Limit OpenCV and torch, if loaded, to `count` threads, so that N processes do not compete for N cores."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def call_on(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    """Return function(item), in a process of the pool or in this one. An error names its item."""
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
                raise  # the file it names is more precise than the item
            raise error.at(name) from error
        error.add_note(f"while processing {name}")
        raise


def run_in_threads(jobs: Iterator[Callable[[], None]], *, num_threads: int) -> Iterator[None]:
    """Run the jobs in threads while the next ones are created: a network's results are finished while it computes.

    Yields once per finished job. At most four per thread are queued, to bound memory. The error of a job is raised here
    when the next one is created; those that are queued then are still run.
    """
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(num_threads) as threads:
        for job in jobs:
            for future in waiting:
                if future.done():
                    future.result()
            waiting.append(threads.submit(job))
            while waiting[0].done() or len(waiting) > 4 * num_threads:
                yield waiting.popleft().result()
                if not waiting:
                    break
        while waiting:
            yield waiting.popleft().result()


def start_reader(_worker: int = 0) -> None:
    """Prepare a process that reads images for the main process.

    Ignores the signals of Ctrl-C and torchrun, because the main process needs its workers until its checkpoint is
    written. Workers end when the main process does, however it ends.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    # an item that cannot be sent would be dropped, and the main process would wait forever; it notices a dead worker
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[attr-defined]


def _end_unsent(error: BaseException, _item: object) -> None:
    print(f"a worker process cannot send what it read: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it ended before the setting took effect
        os._exit(1)
