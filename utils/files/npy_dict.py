"""Dictionaries of arrays in `.npy` files, the form in which random-walk methods exchange CAMs, read without risk.

numpy.save pickles a dictionary, and unpickling can run anything. The reader here builds arrays, text and numbers
and refuses every other instruction, so that files of others can be opened.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors

# numpy 1 and numpy 2 name the same function by different modules; both stand in files.
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NDARRAY = object()  # stands for the class numpy.ndarray, which the pickle only mentions
_NUMBERS = "biuf"


class _Kind:
    """Stands for numpy.dtype while a pickle is read; numpy's own would take any state that a file gives it."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any) -> None:
        self.dtype = np.dtype(name) if isinstance(name, str) and len(name) <= 3 else None
        if self.dtype is None or self.dtype.kind not in _NUMBERS + "O":
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of numbers")

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields = state[:5]
        if order not in ("<", ">", "=", "|") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("it holds an array of records")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for an array while a pickle is read: `value` is the array, or the list inside the outermost wrapper."""

    __slots__ = ("value",)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, data = state
        if kind.dtype.kind == "O":
            self.value = data
            return
        data = data.encode("latin1") if isinstance(data, str) else data
        self.value = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if is_fortran else "C").copy()


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names that an array's pickle needs, and none else. It hands out no classes, only these methods."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _ARRAY_MODULES and name == "_reconstruct":
            return self._new_array
        if module in _ARRAY_MODULES and name == "scalar":
            return self._scalar
        if (module, name) == ("numpy", "dtype"):
            return self._new_kind
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 and older write the bytes of an array
            return self._latin1_bytes
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def _new_array(self, array_class: Any, shape: Any, code: Any) -> _Array:
        if array_class is not _NDARRAY:
            raise pickle.UnpicklingError(f"{array_class!r} is not a plain array")
        return _Array()

    def _new_kind(self, name: Any, *flags: Any) -> _Kind:
        return _Kind(name)

    def _scalar(self, kind: _Kind, data: bytes) -> Any:
        if kind.dtype.kind not in _NUMBERS:
            raise pickle.UnpicklingError("it holds a scalar that is no number")
        return np.frombuffer(data, kind.dtype, count=1)[0].item()

    def _latin1_bytes(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds bytes in {encoding!r}")
        return text.encode("latin1")


def read_npy_dict(path: Path) -> dict[str, Any]:
    """Reads a dictionary of numeric arrays and plain numbers or text that numpy.save wrote.

    Raises UserError that names the file where it is missing or holds anything else; nothing in it is run.
    """
    try:
        with disk_errors(path), path.open("rb") as file:
            return _plain(_read_wrapper(file))
    except UserError:
        raise
    except Exception as error:  # a broken or hostile pickle can fail in any way; each is a refusal
        raise UserError(
            f"is refused: {error}",
            path,
            "it must be a dictionary of number arrays as numpy.save writes it",
            "convert tensors to arrays first (tensor.numpy())",
        ) from error


def _read_wrapper(file: BinaryIO) -> Any:
    """The dictionary inside the () object array: numpy's header, then the pickle."""
    version = npy_format.read_magic(file)
    read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, kind = read_header(file)
    if not kind.hasobject or shape != ():
        raise ValueError(f"it holds an array {shape} of {kind}, not a dictionary")
    wrapper = _ArrayUnpickler(file, encoding="latin1").load()
    if not isinstance(wrapper, _Array) or not isinstance(wrapper.value, list) or len(wrapper.value) != 1:
        raise ValueError("it does not hold a dictionary")
    return wrapper.value[0]


def _plain(content: Any) -> dict[str, Any]:
    """The dictionary with its arrays as numpy's. Raises ValueError where it holds anything but numbers and text."""
    if not isinstance(content, dict):
        raise ValueError("it does not hold a dictionary")
    result = {}
    for key, value in content.items():
        value = value.value if isinstance(value, _Array) else value
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in _NUMBERS
        if not isinstance(key, str) or not (is_array or isinstance(value, (str, bool, int, float))):
            raise ValueError(f"its entry {key!r} is neither an array of numbers, a number nor text")
        result[key] = value
    return result


def write_npy_dict(path: Path, content: dict[str, Any]) -> None:
    """Writes arrays, numbers and text so that `numpy.load(path, allow_pickle=True).item()` gives them back.

    Raises ValueError where read_npy_dict would refuse the content.
    """
    if path.suffix != ".npy":
        raise ValueError(f"{path}: the name of a .npy dictionary must end in .npy")
    wrapper = np.empty((), dtype=object)
    try:
        wrapper[()] = _plain(content)
    except ValueError as error:
        raise ValueError(f"{path} cannot be written: {error}") from None
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, wrapper, allow_pickle=True)
