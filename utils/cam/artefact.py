"""The CAM file of an image: runs/EXP/cam/NAME.npz."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import refusal
from utils.files.npz_header import stored_shape

REMEDY = "delete it and run test_l2g.py again"


def write_cam(path: Path, keys: Sequence[int] | np.ndarray, cams: np.ndarray, *, made_from: str = "") -> None:
    """Write one image's CAM file atomically: keys (K,) zero-based, cams (K, H, W) uint8. K may be 0.

    made_from: digest of the image, see utils.files.sources.
    """
    keys, cams = np.asarray(keys, dtype=np.int64), np.asarray(cams)
    if cams.ndim != 3 or cams.dtype != np.uint8 or keys.shape != cams.shape[:1]:
        raise ValueError(
            f"{path}: keys {keys.shape}, cams {cams.shape} {cams.dtype}: expected (K,) and (K, H, W) uint8"
        )
    with atomic_path(path, made_from=made_from) as temporary:
        np.savez_compressed(temporary, keys=keys, cams=cams)


def read_cam(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one image's keys (K,) int64 zero-based and cams (K, H, W) uint8.

    Raises UserError if the file is missing or not a CAM file.
    """
    keys, cams = _read_arrays(path, "keys", "cams")
    whole = keys.ndim == 1 and np.issubdtype(keys.dtype, np.integer) and cams.dtype == np.uint8
    if not whole or cams.ndim != 3 or len(keys) != len(cams):
        found = f"keys {keys.shape} {keys.dtype}, cams {cams.shape} {cams.dtype}"
        raise UserError(found, path, "expected integers (K,) and uint8 (K, H, W)", REMEDY)
    return keys.astype(np.int64), cams


def read_cam_keys(path: Path) -> np.ndarray:
    """Read the keys of a CAM file without decompressing its CAMs. Raises like read_cam."""
    keys = _read_arrays(path, "keys")[0]
    if keys.ndim != 1 or not np.issubdtype(keys.dtype, np.integer):
        raise UserError(f"keys {keys.shape} {keys.dtype}", path, "expected integers (K,)", REMEDY)
    return keys.astype(np.int64)


def read_cam_size(path: Path) -> tuple[int, int]:
    """Read height and width of the CAMs from the file's header. Raises like read_cam."""
    with _as_artefact(path), path.open("rb") as file:
        _, height, width = stored_shape(file, "cams")
    return height, width


def _read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    with _as_artefact(path):
        zipfile.ZipFile(path).close()  # numpy would advise to unpickle a file of another kind
        with np.load(path, allow_pickle=False) as stored:
            return [stored[name] for name in names]


@contextmanager
def _as_artefact(path: Path) -> Iterator[None]:
    """Convert errors of reading a missing, damaged or foreign file to UserErrors that name it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError("no CAM of this image", path, remedy="run test_l2g.py with this image in its list") from error
    except (KeyError, OSError, EOFError, ValueError, IndexError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        refused = refusal(error, path, "read") if isinstance(error, OSError) else None
        raise refused or UserError(f"is not a CAM file ({error})", path, remedy=REMEDY) from error
