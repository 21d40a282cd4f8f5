"""Folders of CAMs in every supported format: CAM files, exported dictionaries, attention PNGs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from utils.cam.artefact import read_cam, read_cam_keys, read_cam_size
from utils.cam.exports import read_exported_cam
from utils.data.images import open_header, read_gray
from utils.errors import UserError

Form = Literal["cam", "npy", "attention"]

# format -> glob of its files
PATTERNS: dict[Form, str] = {"cam": "*.npz", "npy": "*.npy", "attention": "*_*.png"}
ATTENTION_NAME = re.compile(r"(.+)_(\d+)\.png")


@dataclass(frozen=True)
class CamFiles:
    """The files with the CAMs of one image; their expected paths if they are missing."""

    name: str
    form: Form
    paths: tuple[Path, ...]
    num_classes: int | None = None  # None: any keys

    def keys(self) -> np.ndarray:
        """Read the zero-based keys (K,), without decompressing CAM files and PNGs. Raises UserError if invalid."""
        if self.form == "cam":
            keys = read_cam_keys(self.paths[0])
        elif self.form == "npy":
            keys = read_exported_cam(self.paths[0])[0]
        else:
            keys = self._keys_in_names()
        return self._checked(keys)

    def _keys_in_names(self) -> np.ndarray:
        found = (ATTENTION_NAME.fullmatch(path.name) for path in self.paths)
        return np.array([int(match[2]) for match in found if match], dtype=np.int64)

    def _checked(self, keys: np.ndarray) -> np.ndarray:
        """Return the keys. Raises UserError for repeated ones and keys outside the dataset's classes."""
        most = 254 if self.num_classes is None else self.num_classes
        if keys.size and (keys.min() < 0 or keys.max() >= most or len(set(keys.tolist())) < len(keys)):
            rule = f"expected classes of the dataset, 0..{most - 1}, each once"
            remedy = "check --dataset, or run test_l2g.py again"
            raise UserError(f"contains CAMs for the keys {keys.tolist()}", self.paths[0], rule, remedy)
        return keys

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Read zero-based keys (K,) int64 and CAMs (K, H, W): uint8 (255 is 1), or floats of exported dictionaries.

        Raises an error naming the file if it does not contain them.
        """
        if self.form != "attention":
            keys, planes = (read_cam if self.form == "cam" else read_exported_cam)(self.paths[0])
            return self._checked(keys), planes
        cams = [np.asarray(read_gray(path)) for path in self.paths]
        for path, plane in zip(self.paths, cams, strict=True):
            if plane.shape != cams[0].shape:
                raise UserError(f"is {plane.shape}, {self.paths[0].name} {cams[0].shape}", path, "expected one size")
        return self._checked(self._keys_in_names()), np.stack(cams)

    def size(self) -> tuple[int, int] | None:
        """Read height and width of the CAMs, of PNGs and CAM files from the header. None for an empty dictionary.

        Raises like read if the header is enough to tell.
        """
        if self.form == "cam":
            return read_cam_size(self.paths[0])
        if self.form == "npy":
            keys, cams = read_exported_cam(self.paths[0])
            return (cams.shape[1], cams.shape[2]) if len(keys) else None
        width, height = open_header(self.paths[0]).size
        for path in self.paths[1:]:
            if open_header(path).size != (width, height):
                raise UserError(f"is not {width}x{height} like {self.paths[0].name}", path, "expected one size")
        return height, width


@dataclass(frozen=True)
class CamFolder:
    """A folder of CAMs in one format: cam NAME.npz; npy NAME.npy of IRN, PuzzleCAM, PSA; attention NAME_TAG.png."""

    path: Path
    form: Form
    num_classes: int | None = None

    @classmethod
    def open(cls, path: Path, form: Form | None = None, *, num_classes: int | None = None) -> "CamFolder":
        """Open the folder. form: its format; default that of its files, cam if it is empty.

        num_classes: keys must be below this.
        """
        if form is None:
            found = (form for form, pattern in PATTERNS.items() if any(path.glob(pattern)))
            return cls(path, next(found, "cam"), num_classes)
        return cls(path, form, num_classes)

    def files(self, name: str, tags: Sequence[int] = ()) -> CamFiles:
        """Return the files of one image. tags: the tags that must have attention PNGs; default those found."""
        if self.form != "attention":
            suffix = PATTERNS[self.form].removeprefix("*")
            return CamFiles(name, self.form, (self.path / f"{name}{suffix}",), self.num_classes)
        tags = tags or self._attention_tags.get(name, ())
        paths = tuple(self.path / f"{name}_{tag}.png" for tag in tags or ("TAG",))
        return CamFiles(name, self.form, paths, self.num_classes)

    @cached_property
    def _attention_tags(self) -> dict[str, list[int]]:
        """Map each image to the sorted tags of its attention PNGs, listing the folder once."""
        found: dict[str, list[int]] = {}
        for path in self.path.glob(PATTERNS["attention"]):
            if match := ATTENTION_NAME.fullmatch(path.name):
                found.setdefault(match[1], []).append(int(match[2]))
        return {name: sorted(tags) for name, tags in found.items()}
