"""A safe reader for dictionaries of arrays in `.npy` files, the format in which random-walk methods exchange CAMs.

numpy.save pickles a dictionary, and unpickling can execute arbitrary code. This reader builds arrays, text and numbers
and refuses every other instruction, so untrusted files can be opened. Plain torch tensors are read as arrays; torch is
only imported for files that contain them.
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

# numpy 1 and numpy 2 use different modules for the same function; files contain either.
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NDARRAY = object()  # placeholder for the class numpy.ndarray, which the pickle only references
_NUMBERS = "biuf"
_PROTOCOL = 3  # the newest that stores function names as text, so that they can be replaced by those of numpy 1


class _Kind:
    """Placeholder for numpy.dtype while unpickling; numpy's own would accept any state from the file."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any) -> None:
        dtype = np.dtype(name) if isinstance(name, str) and len(name) <= 3 else None
        if dtype is None or dtype.kind not in _NUMBERS + "O":
            raise pickle.UnpicklingError(f"it contains an array of {name!r}, not of numbers")
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields = state[:5]
        if order not in ("<", ">", "=", "|") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("it contains an array of records")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Placeholder for an array while unpickling. value: the array, or the list inside the outermost wrapper."""

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
    """Resolves only the names that an array's pickle needs, to the methods below; it never returns a class."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _ARRAY_MODULES and name == "_reconstruct":
            return self._new_array
        if module in _ARRAY_MODULES and name == "scalar":
            return self._scalar
        if (module, name) == ("numpy", "dtype"):
            return self._new_kind
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        if (module, name) == ("_codecs", "encode"):  # array bytes in protocol 2 and older
            return self._latin1_bytes
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._storage_bytes
        if (module, name) == ("collections", "OrderedDict"):  # a tensor's hooks, always empty
            return self._no_hooks
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def _new_array(self, array_class: Any, shape: Any, code: Any) -> _Array:
        if array_class is not _NDARRAY:
            raise pickle.UnpicklingError(f"{array_class!r} is not a plain array")
        return _Array()

    def _new_kind(self, name: Any, *flags: Any) -> _Kind:
        return _Kind(name)

    def _scalar(self, kind: _Kind, data: bytes) -> Any:
        if kind.dtype.kind not in _NUMBERS:
            raise pickle.UnpicklingError("it contains a scalar that is not a number")
        return np.frombuffer(data, kind.dtype, count=1)[0].item()

    def _latin1_bytes(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it contains bytes encoded in {encoding!r}")
        return text.encode("latin1")

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *flags: Any) -> _Array:
        return _Array(tensor_as_array(storage, offset, size, stride))

    def _storage_bytes(self, content: bytes) -> bytes:
        return content

    def _no_hooks(self) -> None:
        return None


def read_npy_dict(path: Path) -> dict[str | int, Any]:
    """Read a dictionary of numeric arrays, numbers and text written by numpy.save. Tensors become arrays.

    Raises UserError naming the file if it is missing or contains anything else. No code in it is executed.
    """
    try:
        with disk_errors(path), path.open("rb") as file:
            return _plain(_read_wrapper(file))
    except UserError:
        raise
    except Exception as error:  # a broken or malicious pickle can fail in any way
        raise UserError(
            f"is refused: {error}",
            path,
            "expected a dictionary of numeric arrays or plain tensors, written by numpy.save",
        ) from error


def _read_wrapper(file: BinaryIO) -> Any:
    """Read the dictionary in the 0-d object array: numpy's header, then the pickle."""
    version = npy_format.read_magic(file)
    read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, kind = read_header(file)
    if not kind.hasobject or shape != ():
        raise ValueError(f"it contains an array {shape} of {kind}, not a dictionary")
    wrapper = _ArrayUnpickler(file, encoding="latin1").load()
    if not isinstance(wrapper, _Array) or not isinstance(wrapper.value, list) or len(wrapper.value) != 1:
        raise ValueError("it does not contain a dictionary")
    return wrapper.value[0]


def _plain(content: Any) -> dict[str | int, Any]:
    """Convert the placeholders to numpy arrays. Raises ValueError on anything but numbers and text."""
    if not isinstance(content, dict):
        raise ValueError("it does not contain a dictionary")
    plain = {key: value.value if isinstance(value, _Array) else value for key, value in content.items()}
    for key, value in plain.items():
        if type(key) not in (str, int) or not _is_plain(value):
            raise ValueError(f"its entry {key!r} is not an array of numbers, a number, text or a list of text")
    return plain


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in _NUMBERS
    if isinstance(value, list):
        return all(isinstance(member, str) for member in value)
    return isinstance(value, (str, bool, int, float))


def write_npy_dict(path: Path, content: Mapping[str, Any] | Mapping[int, Any]) -> None:
    """Write arrays, CPU tensors, numbers, text and lists of text for `numpy.load(path, allow_pickle=True).item()`.

    Tensors are loaded as tensors there, also by old versions of numpy and torch. Raises ValueError for content that
    read_npy_dict would refuse.
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
    """Writes only the values of tensors. Torch also writes their memory address, which differs in every run."""

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
    torch = sys.modules.get("torch")  # if it is not imported there are no tensors
    return torch is not None and isinstance(value, torch.Tensor)


def _named_as_in_numpy_1(pickled: bytes) -> bytes:
    """Replace numpy's function names by those of numpy 1, which numpy 2 also accepts."""
    new, old = (f"c{module}\n".encode() for module in reversed(_ARRAY_MODULES))
    at = [position for code, _, position in pickletools.genops(pickled) if code.name == "GLOBAL"]
    for position in reversed(at):
        if position is not None and pickled.startswith(new, position):
            pickled = pickled[:position] + old + pickled[position + len(new) :]
    return pickled
