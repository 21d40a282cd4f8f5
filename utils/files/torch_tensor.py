"""Reads pickled torch tensors as arrays without executing code from the file."""

import io
import math
import re
from typing import Any

import numpy as np


def tensor_as_array(storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """Return as array the tensor that torch._utils._rebuild_tensor_v2 would build.

    storage: bytes of a torch.save file of the tensor's storage. offset, size, stride: in elements. Raises ValueError
    if they do not describe a tensor within the storage.
    """
    values = _storage_values(storage)
    if not _are_counts(size) or not _are_counts(stride) or len(size) != len(stride) or not _are_counts((offset,)):
        raise ValueError("it contains a tensor without a valid size")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    # no more elements than the storage has: with a stride of 0 a small file could fill the memory
    if count > len(values) or (count and last >= len(values)):
        raise ValueError("it contains a tensor beyond the end of its storage")
    if not count:
        return np.zeros(size, values.dtype)
    steps = tuple(step * values.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy()


def storage_reduction(storage: Any) -> tuple[Any, tuple[bytes]]:
    """Return the pickle reduction of a tensor's TypedStorage: torch's, with a constant as its memory address."""
    load, (content,) = storage.__reduce__()
    key = re.search(rb"X(....)(\d+)q", content.partition(b"Storage\n")[2], re.DOTALL)
    if key is None or int.from_bytes(key[1], "little") != len(key[2]):
        return load, (content,)
    # the address is in the description and in the list of keys; the values follow
    return load, (content.replace(b"X" + key[1] + key[2], b"X\x01\0\0\x000", 2),)


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and value >= 0 for value in values)


def _storage_values(storage: Any) -> np.ndarray:
    """Return all elements of the storage, (N,)."""
    import torch  # not at the top: files without tensors do not need it

    if not isinstance(storage, bytes):
        raise ValueError("it contains a tensor without a storage")
    content = torch.load(io.BytesIO(storage), map_location="cpu", weights_only=True)
    if not isinstance(content, torch.TypedStorage):
        raise ValueError(f"it contains a tensor whose storage is a {type(content).__name__}")
    return torch.empty(0, dtype=content.dtype).set_(content).numpy()
