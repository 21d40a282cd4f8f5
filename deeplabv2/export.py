"""A trained network as one ONNX file, photo in, labels out: it runs where neither torch nor this project is installed.

input  image   (N, H, W, 3) uint8 RGB, N photos of one size
output labels  (N, H, W) uint8, the index of each pixel's label
       logits  (N, L, h, w) float32, as the network gives them
Resizing to the size that the network was trained for and the input's normalisation are inside. The metadata are
`labels` (names, background first), `palette` (RGB of each label), `network`, and `weights`, a digest; JSON each.
"""

import inspect
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deeplabv2 import inputs
from deeplabv2.inference import checkpoint_path, load_trained, make_network
from deeplabv2.input_format import InputFormat
from deeplabv2.models import Segmenter
from deeplabv2.seen_size import LEAST_SIDE
from deeplabv2.setting_groups import SizeSettings
from deeplabv2.step_settings import ExportSettings
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.onnx_session import first_line, open_session
from utils.runtime.optional import optional_module

OPSET, IR_VERSION = 18, 8  # the first whose Resize filters what it reduces, and its file format
# exclude_outside: the filter of Pillow, which predict resizes by, ends at the edge of the image
# height and width whose halves and quarters are odd: what is only right for whole multiples of a stride is traced too
TRACED, CHECKED = (83, 117), ((64, 96), (121, 75))
TOLERANCE = 1e-3  # of the largest logit

BEFORE = """
< ir_version: {ir}, opset_import: ["": {opset}] >
before (uint8[N, H, W, 3] image) => (float[N, 3, SH, SW] pixels, int64[2] size) {{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    planes_shape = Shape (planes)
    front, size = Split <axis = 0, num_outputs = 2> (planes_shape)
    sides = Cast <to = {double}> (size)
    {seen}
    least = Constant <value = double[1] {{{least}.0}}> ()
    large_enough = Max (seen_sides, least)
    seen = Cast <to = {int64}> (large_enough)
    seen_shape = Concat <axis = 0> (front, seen)
    resized = Resize <mode = "linear", antialias = 1, exclude_outside = 1> (planes, , , seen_shape)
    pixels = Cast <to = {float}> (resized)
}}
"""
# the largest side becomes `longer` pixels; where it may only be reduced, `most` is 1
LONGER_SIDE = """
    longer = Constant <value = double[1] {{{longer}.0}}> ()
    most = Constant <value = double[1] {{{most}.0}}> ()
    longest = ReduceMax <keepdims = 1> (sides)
    wanted = Div (longer, longest)
    factor = Min (wanted, most)
    scaled = Mul (sides, factor)
    seen_sides = Round (scaled)
"""
OWN_SIDES = "seen_sides = Identity (sides)"
AFTER = """
< ir_version: {ir}, opset_import: ["": {opset}] >
after (float[N, L, LH, LW] answer, int64[2] label_size) => (uint8[N, H, W] labels, float[N, L, LH, LW] logits) {{
    logits = Identity (answer)
    answer_shape = Shape <end = 2> (answer)
    large_shape = Concat <axis = 0> (answer_shape, label_size)
    enlarged = Resize <mode = "linear"> (answer, , , large_shape)
    strongest = ArgMax <axis = 1, keepdims = 0> (enlarged)
    labels = Cast <to = {uint8}> (strongest)
}}
"""


class _Core(nn.Module):
    """RGB pixels (N, 3, H, W) in 0..255 -> logits (N, L, h, w)."""

    def __init__(self, network: Segmenter, input_format: InputFormat) -> None:
        super().__init__()
        self.network, self.input_format = network, input_format

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(self.input_format.prepare(pixels))


def run(settings: ExportSettings) -> Path:
    """Writes the file and returns it. Raises UserError where a network cannot be exported for images of every size."""
    out = settings.target()
    onnx = optional_module("onnx", "onnx", ", or -r requirements-dev.txt")
    optional_module("onnx.compose", "onnx")
    data = inputs.open_data(settings.DATASET)
    training = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training
    network = make_network(settings.MODEL, data.num_labels)
    facts = load_trained(network, checkpoint_path(settings.model_path, training), data.classes)
    core = _Core(network, network.normalisation.with_mean(settings.IMAGE.MEAN.as_rgb())).eval().requires_grad_(False)
    with atomic_path(out) as temporary:
        _write_core(core, temporary)
        _check(core, temporary, network.name)
        model = _joined(onnx, temporary, None if settings.full_size else settings.IMAGE.SIZE)
        names = ["background", *data.classes]
        content = {
            "labels": names,
            "palette": PALETTE[: len(names)].tolist(),
            "network": network.name,
            "weights": facts["weights"],
        }
        onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in content.items()})
        onnx.checker.check_model(model)
        onnx.save(model, str(temporary))
    print(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, {network.name}, {len(names)} labels)")
    return out


def _write_core(core: _Core, path: Path) -> None:
    """The network alone, for any number and size of images."""
    axes = {"pixels": {0: "N", 2: "SH", 3: "SW"}, "answer": {0: "N", 2: "LH", 3: "LW"}}
    options: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["answer"], "dynamic_axes": axes}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        # the exporter by tracing: the other one takes minutes, and fixes sizes that Python computes with
        options["dynamo"] = False
    with warnings.catch_warnings():
        # each size that Python computes with is warned of: _check compares what came of it
        warnings.simplefilter("ignore")
        torch.onnx.export(core, (torch.zeros(1, 3, *TRACED),), str(path), opset_version=OPSET, **options)


def _check(core: _Core, path: Path, name: str) -> None:
    """Raises UserError where onnxruntime's logits of sizes that were not traced differ from torch's."""
    session = open_session(path, device="cpu")
    generator = torch.Generator().manual_seed(0)
    for count, size in enumerate(CHECKED, start=1):
        pixels = torch.randint(0, 256, (count, 3, *size), generator=generator).float()
        with torch.inference_mode():
            expected = core(pixels).numpy()
        refused = f"cannot be exported for images of every size, e.g. of {size[1]}x{size[0]} pixels"
        remedy = "train another --MODEL.NAME"
        try:
            found = session.run(None, {"pixels": pixels.numpy()})[0]
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise UserError(f"{refused} ({first_line(error)})", name, remedy=remedy) from error
        if found.shape != expected.shape or np.abs(found - expected).max() > TOLERANCE * np.abs(expected).max():
            raise UserError(refused, name, "torch and onnxruntime must give the same logits", remedy)


def _joined(onnx: ModuleType, core: Path, size: SizeSettings | None) -> Any:
    """The whole graph, from photo to labels, with the exported network in its middle. size None: photos stay as large
    as they are, see deeplabv2.seen_size.size_of_network.
    """
    types = onnx.TensorProto
    numbers = {
        "ir": IR_VERSION,
        "opset": OPSET,
        "least": LEAST_SIDE,
        "double": types.DOUBLE,
        "float": types.FLOAT,
        "int64": types.INT64,
        "uint8": types.UINT8,
    }
    longer = None if size is None else size.TEST or size.BASE
    seen = OWN_SIDES
    if longer is not None:
        most = 1 if size is not None and size.BASE is None else longer  # no side is below one pixel
        seen = LONGER_SIDE.format(longer=longer, most=most, **numbers)
    before, after = (onnx.parser.parse_model(text.format(seen=seen, **numbers)) for text in (BEFORE, AFTER))
    network = onnx.load(str(core))
    network.ir_version = IR_VERSION
    merge = onnx.compose.merge_models
    upper = merge(before, network, [("pixels", "pixels")], outputs=["answer", "size"])
    return merge(upper, after, [("answer", "answer"), ("size", "label_size")])
