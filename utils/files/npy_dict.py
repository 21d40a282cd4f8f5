"""Dictionaries of arrays in `.npy` files, the form in which random-walk methods exchange CAMs, read without risk.

numpy.save pickles a dictionary, and unpickling can run anything. The reader here builds arrays, text and numbers
and refuses every other instruction, so that files of others can be opened. Of torch it knows one form, a plain
tensor, which comes back as an array; only such a file imports torch.
"""

import io
import pickle
import pickletools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors
from utils.files.torch_tensor import storage_reduction, tensor_as_array

# numpy 1 and numpy 2 name the same function by different modules; both stand in files.
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NDARRAY = object()  # stands for the class numpy.ndarray, which the pickle only mentions
_NUMBERS = "biuf"
_PROTOCOL = 3  # the newest that writes the names of functions as text, which can be those of numpy 1


class _Kind:
    """Stands for numpy.dtype while a pickle is read; numpy's own would take any state that a file gives it."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any) -> None:
        dtype = np.dtype(name) if isinstance(name, str) and len(name) <= 3 else None
        if dtype is None or dtype.kind not in _NUMBERS + "O":
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of numbers")
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields = state[:5]
        if order not in ("<", ">", "=", "|") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("it holds an array of records")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for an array while a pickle is read: `value` is the array, or the list inside the outermost wrapper."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

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
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._storage_bytes
        if (module, name) == ("collections", "OrderedDict"):  # a tensor's hooks, of which there are none
            return self._no_hooks
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

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *flags: Any) -> _Array:
        return _Array(tensor_as_array(storage, offset, size, stride))

    def _storage_bytes(self, content: bytes) -> bytes:
        return content

    def _no_hooks(self) -> None:
        return None


def read_npy_dict(path: Path) -> dict[str | int, Any]:
    """Reads a dictionary of numeric arrays, plain numbers and text that numpy.save wrote; tensors become arrays.

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
            "it must be a dictionary of number arrays or plain tensors as numpy.save writes it",
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


def _plain(content: Any) -> dict[str | int, Any]:
    """The dictionary with its arrays as numpy's. Raises ValueError where it holds anything but numbers and text."""
    if not isinstance(content, dict):
        raise ValueError("it does not hold a dictionary")
    plain = {key: value.value if isinstance(value, _Array) else value for key, value in content.items()}
    for key, value in plain.items():
        if type(key) not in (str, int) or not _is_plain(value):
            raise ValueError(f"its entry {key!r} is neither an array of numbers, a number, text nor a list of text")
    return plain


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in _NUMBERS
    if isinstance(value, list):
        return all(isinstance(member, str) for member in value)
    return isinstance(value, (str, bool, int, float))


def write_npy_dict(path: Path, content: Mapping[str, Any] | Mapping[int, Any]) -> None:
    """Writes arrays, CPU tensors, numbers, text and lists of text for `numpy.load(path, allow_pickle=True).item()`.

    Tensors come back as tensors there, and old versions of numpy and torch read the file too. Raises ValueError
    where read_npy_dict would refuse the content.
    """
    if path.suffix != ".npy":
        raise ValueError(f"{path}: the name of a .npy dictionary must end in .npy")
    try:
        _plain({key: np.zeros(0) if _is_tensor(value) else value for key, value in content.items()})
    except ValueError as error:
        raise ValueError(f"{path} cannot be written: {error}") from None
    wrapper = np.empty((), dtype=object)
    wrapper[()] = dict(content)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        npy_format.write_array_header_1_0(file, npy_format.header_data_from_array_1_0(wrapper))
        file.write(_named_as_in_numpy_1(_pickled(wrapper)))


class _Pickler(pickle.Pickler):
    """Writes tensors by their values alone: torch also writes where in memory they lie, which differs in every run."""

    def reducer_override(self, value: Any) -> Any:
        return storage_reduction(value) if _is_storage(value) else NotImplemented


def _pickled(wrapper: np.ndarray) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=_PROTOCOL).dump(wrapper)
    return file.getvalue()


def _is_storage(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.TypedStorage)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # where it is not imported there is no tensor
    return torch is not None and isinstance(value, torch.Tensor)


def _named_as_in_numpy_1(pickled: bytes) -> bytes:
    """The pickle with numpy's functions under the names that numpy 1 knows; numpy 2 knows these too."""
    new, old = (f"c{module}\n".encode() for module in reversed(_ARRAY_MODULES))
    at = [position for code, _, position in pickletools.genops(pickled) if code.name == "GLOBAL"]
    for position in reversed(at):
        if position is not None and pickled.startswith(new, position):
            pickled = pickled[:position] + old + pickled[position + len(new) :]
    return pickled
