"""The graceful stop: SIGINT and SIGTERM end a run after its step, and a run that makes no step at once."""

import multiprocessing
import os
import signal
import sys
from threading import Timer
from typing import Any

from tqdm import tqdm

PATIENCE = 8.0  # seconds that a step may still take once the stop is asked for
INTERRUPTED = 130  # the shell's status of a program ended by Ctrl-C


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step; the second one is obeyed."""

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
        """The run makes steps: a checkpoint may take its time."""
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None


def _end_at_once() -> None:
    """Ends a process that waits for what may never come; the last checkpoint stays."""
    tqdm.write(f"no step ended in {PATIENCE:g} s: stopped without a checkpoint; resume continues", file=sys.stderr)
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(INTERRUPTED)
