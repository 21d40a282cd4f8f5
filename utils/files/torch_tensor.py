"""The arrays inside pickled torch tensors, read without running anything from the file."""

import io
import math
import re
from typing import Any

import numpy as np


def tensor_as_array(storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """The array that torch._utils._rebuild_tensor_v2 would make a tensor of.

    storage: bytes of a torch.save file of the tensor's storage; offset, size and stride in elements. Raises
    ValueError where they do not describe a tensor inside the storage.
    """
    values = _storage_values(storage)
    if not _are_counts(size) or not _are_counts(stride) or len(size) != len(stride) or not _are_counts((offset,)):
        raise ValueError("it holds a tensor without a valid size")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    # as many elements as the storage has at most: a stride of 0 would make a small file fill the memory
    if count > len(values) or (count and last >= len(values)):
        raise ValueError("it holds a tensor beyond the end of its storage")
    if not count:
        return np.zeros(size, values.dtype)
    steps = tuple(step * values.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy()


def storage_reduction(storage: Any) -> tuple[Any, tuple[bytes]]:
    """What pickle writes for a tensor's TypedStorage: as torch does, but with a constant for its address in memory."""
    load, (content,) = storage.__reduce__()
    key = re.search(rb"X(....)(\d+)q", content.partition(b"Storage\n")[2], re.DOTALL)
    if key is None or int.from_bytes(key[1], "little") != len(key[2]):
        return load, (content,)
    # it stands in the description and in the list of keys; the values follow these
    return load, (content.replace(b"X" + key[1] + key[2], b"X\x01\0\0\x000", 2),)


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and value >= 0 for value in values)


def _storage_values(storage: Any) -> np.ndarray:
    """Every element of the storage, (N,)."""
    import torch  # here: files of arrays alone are read without it

    if not isinstance(storage, bytes):
        raise ValueError("it holds a tensor without a storage")
    content = torch.load(io.BytesIO(storage), map_location="cpu", weights_only=True)
    if not isinstance(content, torch.TypedStorage):
        raise ValueError(f"it holds a tensor whose storage is a {type(content).__name__}")
    return torch.empty(0, dtype=content.dtype).set_(content).numpy()
