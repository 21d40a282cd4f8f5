"""Reads MXNet parameter files, in which the ImageNet weights of ResNet-38 are published, without MXNet."""

import math
import re
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError
from utils.files.text import first_few

LIST_MAGIC = 0x112
# the newer layouts of an array; in the first, a storage type follows
MAGIC_WITH_STORAGE, MAGIC_WITHOUT_STORAGE = 0xF993FAC9, 0xF993FAC8
DENSE = 0
MAX_DIMS = 32
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}

BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_var": "running_var"}
RESIDUAL = re.compile(r"(res|bn)([2-7])(?:a|b(\d+))_(branch\w+?)_(weight|gamma|beta|moving_mean|moving_var)")


class _Reader:
    """Reads little-endian values from `data` in order. Raises ValueError if it ends too early."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = memoryview(data), 0

    def take(self, size: int) -> memoryview:
        left = len(self.data) - self.position
        if size > left:
            raise ValueError(f"expected {size} bytes at {self.position}, {left} left")
        self.position += size
        return self.data[self.position - size : self.position]

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def number(self, form: str) -> int:
        return self.numbers(form)[0]


def _read_shape(reader: _Reader) -> tuple[int, ...]:
    first = reader.number("I")
    newer = first in (MAGIC_WITH_STORAGE, MAGIC_WITHOUT_STORAGE)
    if first == MAGIC_WITH_STORAGE:
        storage = reader.number("i")
        if storage != DENSE:
            raise ValueError(f"storage type {storage} is sparse; only dense arrays are supported")
    dims = reader.number("I") if newer else first
    if dims > MAX_DIMS:
        raise ValueError(f"{dims} dimensions")
    shape = reader.numbers(f"{dims}{'q' if newer else 'I'}")
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape


def _read_array(reader: _Reader) -> np.ndarray:
    shape = _read_shape(reader)
    if not shape:
        raise ValueError("an array without shape")
    reader.take(8)  # type and id of the device it was saved from
    code = reader.number("i")
    if code not in DTYPES:
        raise ValueError(f"element type {code} is not one of {sorted(DTYPES)}")
    dtype = np.dtype(DTYPES[code])
    return np.frombuffer(reader.take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape).copy()


def _read(reader: _Reader) -> dict[str, np.ndarray]:
    if reader.numbers("2Q") != (LIST_MAGIC, 0):
        raise ValueError("it does not begin with 0x112")
    arrays = [_read_array(reader) for _ in range(reader.number("Q"))]
    count = reader.number("Q")
    if count != len(arrays):
        raise ValueError(f"{count} names for {len(arrays)} arrays")
    names = [bytes(reader.take(reader.number("Q"))).decode() for _ in range(count)]
    if len(set(names)) < count:
        raise ValueError("a name occurs twice")
    if reader.position != len(reader.data):
        raise ValueError(f"{len(reader.data) - reader.position} bytes follow the last name")
    return dict(zip(names, arrays, strict=True))


def read_params(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of an MXNet .params file by name, such as "arg:conv1a_weight".

    Supports the layout of 2016 and newer ones. Raises UserError naming the file if it is truncated or foreign.
    """
    try:
        return _read(_Reader(Path(path).read_bytes()))
    except ValueError as error:
        raise UserError(
            f"it is not a complete MXNet parameter file ({error})", path, remedy="download it again"
        ) from error


def _resnet38_name(name: str) -> str | None:
    """Return the state-dict name of a published name without "arg:" or "aux:"; None if there is none."""
    if name == "conv1a_weight":
        return "conv1a.weight"
    if name.startswith("bn7_") and name.removeprefix("bn7_") in BATCH_NORM:
        return f"bn7.{BATCH_NORM[name.removeprefix('bn7_')]}"
    match = RESIDUAL.fullmatch(name)
    if match is None:
        return None
    kind, stage, unit, branch, leaf = match.groups()
    if (kind == "res") != (leaf == "weight"):
        return None
    block = f"b{stage}" if unit is None else f"b{stage}_{unit}"
    if kind == "res":
        return f"{block}.conv_{branch}.weight"
    return f"{block}.bn_{branch}.{BATCH_NORM[leaf]}"


def to_resnet38(arrays: dict[str, np.ndarray], *, where: str = "") -> dict[str, Tensor]:
    """Rename the published arrays to this project's ResNet-38, without the ImageNet classifier.

    Raises UserError for arrays of any other network. where: the file they are from.
    """
    state, unknown = {}, []
    for name, array in arrays.items():
        bare = name.removeprefix("arg:").removeprefix("aux:")
        if bare.startswith("linear1000_"):
            continue
        target = _resnet38_name(bare)
        if target is None:
            unknown.append(name)
        else:
            state[target] = torch.from_numpy(array)
    if unknown:
        raise UserError(
            f"{len(unknown)} arrays are not of ResNet-38 (model A1): {first_few(unknown)}",
            where,
            remedy="use the ImageNet file of that network",
        )
    return state
