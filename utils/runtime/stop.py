"""The graceful stop: SIGINT and SIGTERM end a run after its step."""

import signal
import sys
from typing import Any

from tqdm import tqdm


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step; the second one is obeyed."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = True
        signal.signal(number, self._previous[number])
        tqdm.write("stopping after this step …", file=sys.stderr)
