"""Segments are created without a model, from masks, and by a segmenter that the user supplies."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from scripts.make_segments import SegmentOptions, run
from scripts.prepare.segment_makers import regions, superpixels
from tests.small_training import make_training_data
from utils.cam.segments import read_segments
from utils.data.images import write_image, write_label_png
from utils.data.run_lengths import decode_runs
from utils.errors import UserError


@pytest.fixture
def data(tmp_path):
    """Three images of 44 x 36."""
    return make_training_data(tmp_path, count=3, saliency=False)


def make(data, **more):
    return run(SegmentOptions(**{"dataset": str(data), "num_workers": 1, "size": 8, **more}))


def two_halves():
    photo = np.full((32, 48, 3), 40, np.uint8)
    photo[:, 21:] = (200, 60, 60)
    return photo


@pytest.mark.parametrize("method", ["watershed", "felzenszwalb", "slic"])
def test_superpixels_cover_the_photo_and_respect_its_edges(method):
    if method != "watershed":
        pytest.importorskip("skimage", reason="pip install scikit-image: two of the methods are its")
    ids = superpixels(two_halves(), method, size=8, scale=100.0)
    assert ids.shape == (32, 48) and ids.min() >= 1
    left, right = set(np.unique(ids[:, :19]).tolist()), set(np.unique(ids[:, 23:]).tolist())
    assert left and right and not left & right


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_the_watershed_covers_photos_of_single_pixels_and_lines(shape):
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for size in (1, 16):
        ids = superpixels(photo, "watershed", size=size, scale=100)
        assert ids.shape == shape and ids.min() == 1


def test_the_watershed_makes_one_connected_superpixel_a_cell():
    rng = np.random.default_rng(0)
    ids = superpixels(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), "watershed", size=10, scale=1.0)
    assert np.unique(ids).tolist() == [1, 2, 3, 4, 5, 6]
    assert all(ndimage.label(ids == number, np.ones((3, 3)))[1] == 1 for number in range(1, 7))


def test_regions_of_a_mask_are_connected_and_leave_255_out():
    mask = np.array([[1, 1, 0, 1], [255, 0, 0, 1], [2, 255, 0, 1]], np.uint8)
    ids = regions(mask)
    assert sorted(np.unique(ids).tolist()) == [0, 1, 2, 3, 4]
    assert (ids == 0).tolist() == (mask == 255).tolist()
    assert ids[0, 0] == ids[0, 1] != ids[0, 3] == ids[2, 3]


def test_segments_are_made_once_and_with_one_setting(data, capsys):
    folder = make(data)
    assert folder == data / "Segments" and Image.open(folder / "p0.png").mode == "I;16"
    assert read_segments(folder / "p0.png", (36, 44)).counts(np.zeros((36, 44), np.uint8), 1).sum() == 36 * 44
    (folder / "p1.png").unlink()
    stamp = (folder / "p0.png").stat().st_mtime_ns
    make(data)
    assert "1 images written, 2 kept" in capsys.readouterr().err
    assert (folder / "p0.png").stat().st_mtime_ns == stamp
    for _ in range(2):  # also where none is missing
        with pytest.raises(UserError, match=r"size: was 8, is 12.*--overwrite"):
            make(data, size=12)
        (folder / "p1.png").unlink(missing_ok=True)
    make(data, size=12, overwrite=True)
    assert (folder / "p0.png").stat().st_mtime_ns != stamp


def test_regions_of_masks_are_written(data, tmp_path):
    for number in range(3):
        mask = np.zeros((36, 44), np.uint8)
        mask[:, 20:] = 1 + number
        write_label_png(tmp_path / "masks" / f"p{number}.png", mask)
    folder = make(data, masks=str(tmp_path / "masks"), out=str(tmp_path / "o"))
    ids = np.asarray(Image.open(folder / "p2.png"))
    assert np.unique(ids).tolist() == [1, 2] and (ids[:, 20:] == 2).all()
    (tmp_path / "masks" / "p1.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 masks .*--masks"):
        make(data, masks=str(tmp_path / "masks"), out=str(tmp_path / "p"))


def test_segments_of_another_program_make_way_on_request(data):
    (data / "Segments").mkdir()
    (data / "Segments" / "p0.json").write_text("[]")
    folder = make(data)
    assert (folder / "p0.json").exists() and not (folder / "p0.png").exists()
    make(data, overwrite=True)
    assert (folder / "p0.png").exists() and not (folder / "p0.json").exists()


@pytest.mark.parametrize("by_model", [False, True])
def test_segments_of_a_photo_that_an_older_file_replaced_are_made_again(data, tmp_path, by_model, capsys):
    more = {"onnx": segmenter(tmp_path / "a.onnx"), **PLAIN} if by_model else {}
    folder = make(data, **more)
    capsys.readouterr()
    write_image(data / "JPEGImages" / "p1.png", np.full((36, 44, 3), 200, np.uint8))
    os.utime(data / "JPEGImages" / "p1.png", (10**9, 10**9))
    for count in (1, 0):
        make(data, **more)
        assert f"segments of {count} images written, {3 - count} kept" in capsys.readouterr().err
    assert len(list(folder.glob("p1.*"))) == 1


def segmenter(path, scores=(0.9, 0.2, 0.8)):
    """A model file whose masks are red, green and blue over a half, with these scores."""
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the model file")
    onnx = pytest.importorskip("onnx", reason="pip install onnx: the test writes a model file of one layer")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Sub", ["x", "half"], ["masks"]), helper.make_node("Identity", ["s"], ["scores"])],
        "one",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [1, 3, 32, 32])],
        [
            helper.make_tensor_value_info("masks", kinds.FLOAT, [1, 3, 32, 32]),
            helper.make_tensor_value_info("scores", kinds.FLOAT, [1, 3]),
        ],
        [
            onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32), "half"),
            onnx.numpy_helper.from_array(np.array([scores], np.float32), "s"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return str(path)


PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def test_a_segmenters_masks_are_written_as_run_lengths(data, tmp_path):
    photo = np.zeros((36, 44, 3), np.uint8)
    photo[:, :22, 0] = 255
    photo[:18, :, 2] = 255
    write_image(data / "JPEGImages" / "p0.png", photo)
    make(data)
    folder = make(data, onnx=segmenter(tmp_path / "a.onnx"), overwrite=True, **PLAIN)
    assert not (folder / "p0.png").exists()  # an image has one file of segments
    red, blue = (decode_runs(shape) for shape in json.loads((folder / "p0.json").read_text())["annotations"])
    assert red[:, :21].all() and not red[:, 23:].any() and blue[:17].all() and not blue[19:].any()
    scored = make(data, onnx=str(tmp_path / "a.onnx"), score_output=1, min_score=0.85, out=str(tmp_path / "o"), **PLAIN)
    (only,) = json.loads((scored / "p0.json").read_text())["annotations"]
    assert np.array_equal(decode_runs(only), red)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": 1}, r"--output=1.*\(1, 3\)"),
        ({"output": 2}, "--output=2"),
        ({"score_output": 0}, "--score_output=0"),
    ],
)
def test_outputs_that_do_not_fit_are_named(data, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        make(data, onnx=segmenter(tmp_path / "a.onnx"), **more)


def test_a_missing_extra_says_how_to_install_it_before_any_file(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UserError, match=r"`pip install scikit-image`.*--method=watershed"):
        make(data, method="slic")
    assert not (data / "Segments").exists()


def test_two_sources_are_refused():
    with pytest.raises(UserError, match=r"--masks and --onnx"):
        SegmentOptions(masks="a", onnx="b")
