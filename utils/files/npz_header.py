"""Reads the shape of an array in an .npz file without its content, so that a damaged file does not fill the memory."""

import zipfile
from typing import IO

from numpy.lib import format as npy


def stored_shape(file: IO[bytes], name: str) -> tuple[int, ...]:
    """Return the shape of the array `name`. Raises KeyError, ValueError or zipfile.BadZipFile like numpy.load."""
    with zipfile.ZipFile(file) as stored, stored.open(f"{name}.npy") as array:
        version = npy.read_magic(array)
        shape, _, _ = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(array)
    return shape
