"""Map a function over items in worker processes while the program still finds the items."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from utils.files.parallel import (
    WORKERS_REMEDY,
    call_on,
    process_count,
    progress_bar,
    worker_ends,
    worker_processes,
)

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Background(Generic[ItemT, ResultT]):
    """Work on items beside the program, see in_background. An item must be hashable."""

    def __init__(
        self, function: Callable[[ItemT], ResultT], executor: Executor, description: str, *, quiet: bool
    ) -> None:
        self._call, self._executor = partial(call_on, function), executor
        self._description, self._quiet = description, quiet
        self._futures: dict[ItemT, Future[ResultT]] = {}
        self._failed: Future[ResultT] | None = None
        self._lock = Lock()

    def add(self, item: ItemT) -> None:
        """Start the work on an item. May be called in threads. Raises the error of an earlier item."""
        with self._lock, worker_ends(remedy=WORKERS_REMEDY):
            if self._failed is not None:
                self._failed.result()
            future = self._executor.submit(self._call, item)
            self._futures[item] = future
        future.add_done_callback(self._note)

    def finish(self, items: Sequence[ItemT]) -> list[ResultT]:
        """Add those of the items that were not added yet, wait, and return the results in the order of `items`.

        Raises the first error.
        """
        for item in items:
            if item not in self._futures:
                self.add(item)
        with progress_bar(len(items), self._description, quiet=self._quiet) as bar, worker_ends(remedy=WORKERS_REMEDY):
            for future in as_completed(self._futures[item] for item in items):
                future.result()
                bar.update()
        return [self._futures[item].result() for item in items]

    def _note(self, future: Future[ResultT]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._failed = self._failed or future


@contextmanager
def in_background(
    function: Callable[[ItemT], ResultT],
    *,
    num_items: int,
    num_workers: int = 0,
    description: str = "",
    programs: int = 1,
    quiet: bool = False,
) -> Iterator[Background[ItemT, ResultT]]:
    """Compute function(item) in processes while the block runs, which adds the items.

    function, num_workers, programs, quiet: see parallel_map; with one worker, a thread of this process does the work.
    num_items: how many items there will be at most. At the end of the block, what is queued is dropped: call finish
    inside it.
    """
    count = process_count(num_workers, num_items, programs=programs)
    with _thread() if count == 1 else worker_processes(count) as executor:
        yield Background(function, executor, description, quiet=quiet)


@contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(1)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
