"""Salient-object detectors that others trained: a function from an RGB photo to its saliency map."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from utils.errors import UserError

Detector = Callable[[Image.Image], np.ndarray]  # RGB photo -> (H, W) uint8 at its size

ACTIVATIONS = {"none": lambda x: x, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
DEFAULT_SIDE = 320


def _optional(module: str, install: str, note: str = "") -> ModuleType:
    """An installed extra. Raises UserError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"cannot be imported ({error})", module, remedy=f"run `pip install {install}`{note}") from error


def is_installed(module: str) -> bool:
    """Whether the extra can be imported, by its name alone."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def rembg_detector(model: str) -> Detector:
    """A model of the rembg package by its name, e.g. u2net; the package downloads it when it is first used.

    Raises UserError where rembg is not installed, has no such model, or would send photos to a server.
    """
    rembg = _optional("rembg", "'rembg[cpu]'", "; it downloads its model when it runs; or give --onnx=FILE")
    try:
        session = rembg.new_session(model)
    except OSError as error:  # of the network too, whichever library rembg downloads by
        remedy = "check the network, or give --use_rembg=false --fetch, --onnx=FILE, or SALIENCY=none"
        raise UserError(f"its model cannot be had ({error})", f"--rembg_model={model}", remedy=remedy) from error
    if not getattr(session, "is_local", lambda: True)():
        raise UserError(
            "sends the photos to a server",
            f"--rembg_model={model}",
            remedy="give one that runs here, --rembg_model=u2net",
        )

    def detect(photo: Image.Image) -> np.ndarray:
        # without EXIF: rembg would turn the photo, and the map would not fit it
        plain = Image.fromarray(np.asarray(photo))
        return np.asarray(rembg.remove(plain, session=session, only_mask=True).convert("L"))

    return detect


def onnx_detector(
    path: Path,
    *,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    output: int,
    activation: str,
    min_max: bool,
) -> Detector:
    """A model in an ONNX file, from (1, 3, S, S) normalised RGB to one map; input_size 0: the model's own, else 320.

    min_max stretches each map over 0..1. Raises UserError that names the file and what does not fit.
    """
    runtime = _optional("onnxruntime", "onnxruntime")
    session = _session(runtime, path)
    first, side = session.get_inputs()[0], input_size
    own = [size for size in first.shape[2:] if isinstance(size, int)]
    if not side:
        side = own[0] if own else DEFAULT_SIDE
    if any(size != side for size in own):
        raise UserError(f"--input_size={side}", path, f"the model takes images of {own}", "omit --input_size")
    if not 0 <= output < len(session.get_outputs()):
        raise UserError(f"--output={output}", path, f"the model has outputs 0..{len(session.get_outputs()) - 1}")

    def detect(photo: Image.Image) -> np.ndarray:
        pixels = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR), np.float32) / 255
        pixels = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        raw = session.run(None, {first.name: pixels.transpose(2, 0, 1)[None]})[output]
        return to_map(raw, photo.size, activation=activation, min_max=min_max, where=str(path))

    return detect


def _session(runtime: ModuleType, path: Path) -> Any:
    try:
        return runtime.InferenceSession(str(path), providers=runtime.get_available_providers())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UserError(f"is not a model that onnxruntime can run ({error})", path) from error


def to_map(raw: np.ndarray, size: tuple[int, int], *, activation: str, min_max: bool, where: str) -> np.ndarray:
    """A saliency map (H, W) uint8 of `size` (width, height) from a model's output (…, h, w) of one channel."""
    values = np.asarray(raw, np.float32)
    if values.ndim < 2 or values.size != values.shape[-1] * values.shape[-2]:
        raise UserError(f"its output is {values.shape}", where, "it must be one map", "give another --output")
    values = ACTIVATIONS[activation](values.reshape(values.shape[-2:]))
    if not np.isfinite(values).all():
        raise UserError("its output is not finite", where, remedy="check --mean and --std")
    if min_max:
        low, high = values.min(), values.max()
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    elif values.min() < -1e-3 or values.max() > 1 + 1e-3:
        raise UserError(
            f"its output is in {values.min():.3g}..{values.max():.3g}",
            where,
            "maps lie in 0..1",
            "give --activation=sigmoid for a model without it, or --min_max=true",
        )
    smooth = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    return np.round(np.clip(np.asarray(smooth), 0, 1) * 255).astype(np.uint8)
