"""Runs models in ONNX files, with photos in the type and layout that they expect; loads salient-object detectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scripts.prepare.saliency_models import Detector
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.sources import digest_of
from utils.runtime.onnx_session import first_line, open_session

Model = Callable[[Image.Image], list[Any]]  # RGB photo -> all outputs

ACTIVATIONS = {"none": lambda x: x, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
DEFAULT_SIDE = 320
NOTHING_SALIENT = 0.1  # a map in 0..1 below this is not stretched, since it would only show noise
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
PIXELS = "tensor(uint8)"


@dataclass(frozen=True)
class Input:
    """A model's input. axes: their order, e.g. NHWC or CHW; size: (height, width); type: onnxruntime's name."""

    name: str
    type: str
    axes: str
    size: tuple[int, int]

    def array(self, photo: Image.Image, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
        """Convert an RGB photo to the model's input: floats are normalised, uint8 are the pixels themselves."""
        resized = np.asarray(photo.resize(self.size[::-1], Image.Resampling.BILINEAR))
        if self.type != PIXELS:
            normalised = (resized.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
            resized = normalised.astype(FLOATS[self.type])
        order = ["HWC".index(axis) for axis in self.axes if axis != "N"]
        planes = resized.transpose(order)
        return np.ascontiguousarray(planes[None] if "N" in self.axes else planes)


def model_settings(given: str) -> dict[str, str]:
    """Return what identifies the file of a model, the value of --onnx: name and digest. Raises UserError."""
    path = existing_path(given, "--onnx")
    return {"onnx": path.name, "model": digest_of(path)}


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
    """Load an ONNX model: one RGB image -> one map. input_size: side of the input; 0 is the model's own, else 320.

    Type (float16, float32, float64, uint8) and layout of the input are read from the model. mean, std: of RGB in 0..1.
    min_max: stretch each map to 0..1, see to_map. The model is first run on an empty image. Raises UserError naming the
    file and what does not fit.
    """

    def accept(outputs: list[Any]) -> None:
        one_map(outputs[output], path, outputs=len(outputs))

    model = open_model(path, input_size=input_size, mean=mean, std=std, options={"output": output}, accept=accept)

    def detect(photo: Image.Image) -> np.ndarray:
        return to_map(model(photo)[output], photo.size, activation=activation, min_max=min_max, where=str(path))

    return detect


def open_model(
    path: Path,
    *,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    options: Mapping[str, int],
    accept: Callable[[list[Any]], Any],
) -> Model:
    """Load an ONNX model that takes one RGB image, see onnx_detector. Returns a function: photo -> all outputs.

    options: option that selects an output -> its index. accept: raises UserError if the outputs of an empty image do
    not fit.
    """
    session = open_session(path)
    count = len(session.get_outputs())
    for option, index in options.items():
        if not 0 <= index < count:
            raise UserError(f"--{option}={index}", path, f"the model has outputs 0..{count - 1}")
    found = _tried(session, _inputs(session, path, input_size), path, input_size, accept)
    if found.type == PIXELS:
        print(f"{path}: expects uint8 pixels: --mean and --std are not used")
    return lambda photo: session.run(None, {found.name: found.array(photo, mean, std)})


def _inputs(session: Any, path: Path, side: int) -> list[Input]:
    """Return the input formats that the model may expect; several if its shape is ambiguous. side: 0 is its own."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UserError(f"has {len(inputs)} inputs ({', '.join(i.name for i in inputs)})", path, "expected one image")
    first = inputs[0]
    shape = [size if isinstance(size, int) else None for size in first.shape]  # None or a name means any size
    where = f"its input is {first.type} of shape {first.shape}"
    if first.type not in (*FLOATS, PIXELS):
        raise UserError(where, path, "expected an image of float16, float32, float64 or uint8")
    layouts = {4: ("NCHW", "NHWC"), 3: ("CHW", "HWC")}.get(len(shape), ())
    fitting = [axes for axes in layouts if shape[axes.index("C")] in (3, None) and _one(shape, axes)]
    exact = [axes for axes in fitting if shape[axes.index("C")] == 3]
    if not fitting:
        raise UserError(where, path, "expected one RGB image, (1, 3, height, width) or (1, height, width, 3)")
    return [_sized(Input(first.name, first.type, axes, (0, 0)), shape, path, side) for axes in exact or fitting]


def _one(shape: Sequence[int | None], axes: str) -> bool:
    return "N" not in axes or shape[0] in (1, None)


def _sized(found: Input, shape: Sequence[int | None], path: Path, side: int) -> Input:
    own = [shape[found.axes.index(axis)] for axis in "HW"]
    height, width = (size or side or max(filter(None, own), default=DEFAULT_SIDE) for size in own)
    if side and (height, width) != (side, side):
        raise UserError(
            f"--input_size={side}", path, f"the model expects images of {height} x {width}", "omit --input_size"
        )
    return replace(found, size=(height, width))


def _tried(
    session: Any, candidates: Sequence[Input], path: Path, side: int, accept: Callable[[list[Any]], Any]
) -> Input:
    """Return the first input format for which the model runs and returns accepted outputs."""
    failed: Exception | None = None
    for found in candidates:
        array = found.array(Image.new("RGB", found.size[::-1]), (0, 0, 0), (1, 1, 1))
        try:
            outputs = session.run(None, {found.name: array})
        except Exception as error:  # see _session
            failed = failed or error
            continue
        accept(outputs)
        return found
    shown = f"{candidates[0].type} of shape {array.shape}"
    remedy = "give another --input_size" if side or not any(map(_is_fixed, session.get_inputs())) else ""
    raise UserError(f"does not run on {shown} ({first_line(failed)})", path, remedy=remedy) from failed


def _is_fixed(value: Any) -> bool:
    return all(isinstance(size, int) for size in value.shape)


def one_map(raw: Any, where: str | Path, *, outputs: int = 1) -> np.ndarray:
    """Squeeze a model's output to (h, w) float32; 8-bit integers are scaled to 0..1."""
    if not isinstance(raw, np.ndarray) or raw.dtype.kind not in "fiub":
        raise UserError(f"its output is {_kind(raw)}", where, "expected one map of numbers")
    values = raw.astype(np.float32) / (255 if raw.dtype == np.uint8 else 1)
    for axis in reversed(range(values.ndim)):
        if values.ndim > 2 and values.shape[axis] == 1:
            values = values.squeeze(axis)
    if values.ndim != 2 or not values.size:
        remedy = "give another --output" if outputs > 1 else ""
        raise UserError(f"its output is of shape {raw.shape}", where, "expected one map", remedy)
    return values


def _kind(raw: Any) -> str:
    return f"of type {raw.dtype}" if isinstance(raw, np.ndarray) else f"a {type(raw).__name__}"


def to_map(raw: Any, size: tuple[int, int], *, activation: str, min_max: bool, where: str) -> np.ndarray:
    """Convert a model's one-channel output to a saliency map (H, W) uint8 of `size` (width, height).

    min_max: stretch it to 0..255. A map in 0..1 that is below NOTHING_SALIENT everywhere becomes black instead, since
    stretching would show noise as an object.
    """
    values = one_map(raw, where)
    with np.errstate(over="ignore"):  # the sigmoid of a large negative number is 0
        values = ACTIVATIONS[activation](values)
    if not np.isfinite(values).all():
        raise UserError("its output is not finite", where, remedy="inspect the model: it may overflow in float16")
    low, high = float(values.min()), float(values.max())
    if min_max:
        nothing = low >= -1e-3 and high < NOTHING_SALIENT
        values = np.zeros_like(values) if nothing or high <= low else (values - low) / (high - low)
    elif low < -1e-3 or high > 1 + 1e-3:
        raise UserError(
            f"its output is in {low:.3g}..{high:.3g}",
            where,
            "expected maps in 0..1",
            "give --activation=sigmoid for a model without it, or --min_max=true",
        )
    smooth = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    return np.round(np.clip(np.asarray(smooth), 0, 1) * 255).astype(np.uint8)
