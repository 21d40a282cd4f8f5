"""Models in ONNX files are given what they ask for, or refused before the first photo."""

import numpy as np
import pytest
from PIL import Image

from scripts.prepare.onnx_model import onnx_detector, to_map
from utils.errors import UserError

pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the model file")
onnx = pytest.importorskip("onnx", reason="pip install onnx: the test writes model files of a few layers")
OPTIONS = {"mean": (0, 0, 0), "std": (1, 1, 1), "input_size": 0, "output": 0, "activation": "none", "min_max": False}
NCHW, NHWC = [0, 1, 2, 3], [0, 3, 1, 2]


def red(path, shape, *, kind="FLOAT", to_nchw=NCHW, scale=1.0, more=(), out_shape=None):
    """A model whose map is the red channel times `scale`: its input of this type and shape is brought to NCHW first."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Cast", ["x"], ["cast"], to=kinds.FLOAT)]
    if len(shape) == 3:
        nodes += [helper.make_node("Unsqueeze", ["cast", "zero"], ["f"])]
    else:
        nodes += [helper.make_node("Identity", ["cast"], ["f"])]
    nodes += [
        helper.make_node("Transpose", ["f"], ["t"], perm=to_nchw),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    kernel = np.array([scale, 0, 0], np.float32).reshape(1, 3, 1, 1)
    inputs = [helper.make_tensor_value_info("x", getattr(kinds, kind), list(shape)), *more]
    graph = helper.make_graph(
        nodes,
        "red",
        inputs,
        [helper.make_tensor_value_info("y", kinds.FLOAT, out_shape or [1, 1, None, None])],
        [onnx.numpy_helper.from_array(kernel, "w"), onnx.numpy_helper.from_array(np.array([0]), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def photo():
    """Red grows from left to right, the other channels are white: a wrong layout or channel shows."""
    pixels = np.full((16, 24, 3), 255, np.uint8)
    pixels[..., 0] = np.arange(24) * 10
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("shape", "kind", "to_nchw", "scale"),
    [
        ([1, 3, 32, 32], "FLOAT16", NCHW, 1),
        (["n", 3, "h", "w"], "FLOAT", NCHW, 1),
        ([1, 32, 32, 3], "FLOAT", NHWC, 1),
        ([1, 32, 32, 3], "UINT8", NHWC, 1 / 255),
        (["n", 3, 32, 48], "UINT8", NCHW, 1 / 255),
        ([None, None, None, 3], "FLOAT16", NHWC, 1),
        ([1, 3, 32, 32], "DOUBLE", NCHW, 1),
        ([3, 32, 32], "FLOAT", NCHW, 1),
        ([32, 32, 3], "FLOAT", NHWC, 1),
        ([None, None, None, None], "FLOAT", NHWC, 1),
        ([None, None, None, None], "FLOAT", NCHW, 1),
    ],
)
def test_an_image_arrives_in_the_models_type_and_layout(tmp_path, shape, kind, to_nchw, scale):
    path = red(tmp_path / "m.onnx", shape, kind=kind, to_nchw=to_nchw, scale=scale)
    found = onnx_detector(path, **OPTIONS)(photo()).astype(int)
    assert found.shape == (16, 24)
    assert np.abs(found[:, 2:-2] - (np.arange(24) * 10)[2:-2]).max() <= 6  # resized there and back


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ([1, 1, 32, 32], "FLOAT", r"\[1, 1, 32, 32\].*one RGB image"),
        ([4, 3, 32, 32], "FLOAT", r"\[4, 3, 32, 32\].*one RGB image"),
        ([1, 3, 32, 32], "INT64", r"int64.*float16, float32"),
    ],
)
def test_an_input_that_is_no_image_is_refused_with_file_and_shape(tmp_path, shape, kind, message):
    path = red(tmp_path / "m.onnx", shape, kind=kind)
    with pytest.raises(UserError, match=rf"m\.onnx: .*{message}") as caught:
        onnx_detector(path, **OPTIONS)
    assert "--" not in str(caught.value)


def test_two_inputs_are_refused_by_name(tmp_path):
    mask = onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1])
    with pytest.raises(UserError, match=r"2 inputs \(x, mask\)"):
        onnx_detector(red(tmp_path / "m.onnx", [1, 3, 8, 8], more=[mask]), **OPTIONS)


def test_a_model_that_cannot_run_is_refused_before_the_first_photo_in_one_line(tmp_path):
    path = red(tmp_path / "m.onnx", [1, 3, None, None], to_nchw=NHWC)  # its layers want other axes than its input has
    with pytest.raises(
        UserError, match=r"m\.onnx: does not run on tensor\(float\) of shape \(1, 3, 320, 320\)"
    ) as caught:
        onnx_detector(path, **OPTIONS)
    assert "\n" not in str(caught.value)


def test_another_size_than_a_models_own_blames_only_the_option_that_was_given(tmp_path):
    path = red(tmp_path / "m.onnx", [1, 3, 32, 48])
    assert onnx_detector(path, **OPTIONS)(photo()).shape == (16, 24)
    with pytest.raises(UserError, match=r"--input_size=64.*32 x 48"):
        onnx_detector(path, **{**OPTIONS, "input_size": 64})


@pytest.mark.parametrize(("peak", "white"), [(1e-4, 0), (0.09, 0), (0.2, 255), (1.0, 255)])
def test_a_map_is_stretched_only_where_something_is_salient(peak, white):
    raw = np.linspace(0, peak, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    found = to_map(raw, (8, 8), activation="none", min_max=True, where="m")
    assert found.max() == white


@pytest.mark.parametrize("shape", [(1, 1, 8, 6), (1, 8, 6, 1), (1, 8, 6), (8, 6)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, bool])
def test_a_map_is_read_from_every_layout_and_type(shape, dtype):
    whole = np.arange(48).reshape(shape) >= 24
    raw = whole.astype(dtype) * (255 if dtype == np.uint8 else 1)
    found = to_map(raw, (6, 8), activation="none", min_max=False, where="m")
    assert np.array_equal(found > 127, whole.reshape(8, 6)) and found.max() == 255
