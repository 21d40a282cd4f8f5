"""Decoded images kept in memory, so that the epochs of a small dataset do not decode them again."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np

LIMIT = 128 << 20  # bytes in each process that reads samples; an epoch of a larger dataset finds this much of it

ArraysT = TypeVar("ArraysT", bound="tuple[np.ndarray | None, ...]")


class Kept(Generic[ArraysT]):
    """Arrays by their keys. Once the limit is reached, no more are kept and none is dropped: each epoch reads all."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.size = limit, 0
        self._arrays: dict[Hashable, ArraysT] = {}

    def get(self, key: Hashable, read: Callable[[], ArraysT]) -> ArraysT:
        """Return what read() returned for the key at first, or now. The arrays must not be changed."""
        found = self._arrays.get(key)
        if found is None:
            found = read()
            size = sum(array.nbytes for array in found if array is not None)
            if self.size + size <= self.limit:
                self._arrays[key], self.size = found, self.size + size
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy for another process, which keeps its own."""
        return {"limit": self.limit, "size": 0, "_arrays": {}}
