"""Folders of CAMs in every form that is read: the artefact, exported dictionaries, attention PNGs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from utils.cam.artefact import read_cam, read_cam_size
from utils.cam.exports import read_exported_cam
from utils.data.images import open_header, read_gray
from utils.errors import UserError

Form = Literal["cam", "npy", "attention"]

# form -> files of a folder that has it
PATTERNS: dict[Form, str] = {"cam": "*.npz", "npy": "*.npy", "attention": "*_*.png"}
ATTENTION_NAME = re.compile(r"(.+)_(\d+)\.png")


@dataclass(frozen=True)
class CamFiles:
    """The files that hold the CAMs of one image; where they are missing, their names."""

    name: str
    form: Form
    paths: tuple[Path, ...]

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Zero-based keys (K,) int64, and CAMs (K, H, W): uint8 (255 is 1), or floats of exported dictionaries.

        Raises an error that names the file where it does not hold them.
        """
        if self.form == "cam":
            return read_cam(self.paths[0])
        if self.form == "npy":
            return read_exported_cam(self.paths[0])
        keys = [int(match[2]) for path in self.paths if (match := ATTENTION_NAME.fullmatch(path.name))]
        cams = [np.asarray(read_gray(path)) for path in self.paths]
        for path, plane in zip(self.paths, cams, strict=True):
            if plane.shape != cams[0].shape:
                raise UserError(f"is {plane.shape}, {self.paths[0].name} {cams[0].shape}", path, "expected one size")
        return np.array(keys, dtype=np.int64), np.stack(cams)

    def size(self) -> tuple[int, int] | None:
        """Height and width of the CAMs; None where an exported dictionary has none. PNGs and artefacts: by the header.

        Raises as read does, where the header tells.
        """
        if self.form == "cam":
            return read_cam_size(self.paths[0])
        if self.form == "npy":
            keys, cams = read_exported_cam(self.paths[0])
            return (cams.shape[1], cams.shape[2]) if len(keys) else None
        width, height = open_header(self.paths[0]).size
        for path in self.paths[1:]:
            if open_header(path).size != (width, height):
                raise UserError(f"is not {width}x{height}, as {self.paths[0].name} is", path, "expected one size")
        return height, width


@dataclass(frozen=True)
class CamFolder:
    """A folder of CAMs of one form: cam NAME.npz; npy NAME.npy of IRN, PuzzleCAM, PSA; attention NAME_TAG.png."""

    path: Path
    form: Form

    @classmethod
    def open(cls, path: Path, form: Form | None = None) -> "CamFolder":
        """The folder as one of `form`, by default of the form that its files have (cam if it has none)."""
        if form is None:
            found = (form for form, pattern in PATTERNS.items() if any(path.glob(pattern)))
            return cls(path, next(found, "cam"))
        return cls(path, form)

    def files(self, name: str, tags: Sequence[int] = ()) -> CamFiles:
        """The files of one image. tags: those whose attention PNGs it must have; default those found."""
        if self.form != "attention":
            suffix = PATTERNS[self.form].removeprefix("*")
            return CamFiles(name, self.form, (self.path / f"{name}{suffix}",))
        tags = tags or self._attention_tags.get(name, ())
        return CamFiles(name, self.form, tuple(self.path / f"{name}_{tag}.png" for tag in tags or ("TAG",)))

    @cached_property
    def _attention_tags(self) -> dict[str, list[int]]:
        """Image -> tags of its attention PNGs, rising; one look at the folder."""
        found: dict[str, list[int]] = {}
        for path in self.path.glob(PATTERNS["attention"]):
            if match := ATTENTION_NAME.fullmatch(path.name):
                found.setdefault(match[1], []).append(int(match[2]))
        return {name: sorted(tags) for name, tags in found.items()}
