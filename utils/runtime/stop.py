"""Graceful stop: SIGINT and SIGTERM end a run after its current step, or after a timeout if it is stuck."""

import multiprocessing
import os
import signal
import sys
from threading import Timer
from typing import Any

from tqdm import tqdm

PATIENCE = 8.0  # seconds that a step may still take after a stop was requested
INTERRUPTED = 130  # the shell's status of a program ended by Ctrl-C


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step. The second one ends the run."""

    def __init__(self) -> None:
        self.asked = False
        self._killer: Timer | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self.step_is_done()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = True
        signal.signal(number, self._previous[number])
        tqdm.write("stopping after this step …", file=sys.stderr)
        self._killer = Timer(PATIENCE, _end_at_once)
        self._killer.daemon = True
        self._killer.start()

    def step_is_done(self) -> None:
        """Note that the run makes steps, so that writing a checkpoint does not time out."""
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None


def _end_at_once() -> None:
    """End a process that is stuck. Its last checkpoint remains."""
    tqdm.write(
        f"no step ended in {PATIENCE:g} s: stopped; --resume continues from the last checkpoint", file=sys.stderr
    )
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(INTERRUPTED)
