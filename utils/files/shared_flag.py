"""A flag between processes that no lock guards: one that is killed while it looks cannot keep the others waiting."""

import ctypes
from multiprocessing.context import BaseContext


class SharedFlag:
    """Stands for an event of multiprocessing that nobody waits for.

    An event's is_set and set take a lock, and a process that is killed in between keeps it for ever.
    """

    def __init__(self, context: BaseContext) -> None:
        self._value = context.RawValue(ctypes.c_bool, False)

    def set(self) -> None:
        """Set the flag in all processes."""
        self._value.value = True

    def is_set(self) -> bool:
        """Return whether any process has set the flag."""
        return self._value.value
