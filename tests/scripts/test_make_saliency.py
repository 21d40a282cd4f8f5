"""Missing saliency maps of a dataset are created by pretrained detectors, once."""

import json
import os
import sys
import types

import numpy as np
import pytest
from PIL import Image

from scripts.make_saliency import SaliencyOptions, run
from tests.small_training import make_training_data
from utils.data.images import read_gray, read_rgb, write_image
from utils.errors import UserError

PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1), "min_max": False}


@pytest.fixture
def data(tmp_path):
    """Three images of 44 x 36; p0 already has a saliency map."""
    folder = make_training_data(tmp_path, count=3, saliency=False)
    write_image(folder / "Sal" / "p0.png", np.full((36, 44), 7, np.uint8))
    return folder


def model(path, *, weights=(1.0, 0.0, 0.0), bias=0.0, channels=1, side="side"):
    """A model file that sums the channels with these weights. Skips the test if optional packages are missing."""
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the model file")
    onnx = pytest.importorskip("onnx", reason="pip install onnx: the test writes a model file of one layer")
    helper, kinds = onnx.helper, onnx.TensorProto
    kernel = np.tile(np.array(weights, np.float32).reshape(1, 3, 1, 1), (channels, 1, 1, 1))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("y", kinds.FLOAT, [1, channels, side, side])],
        [
            onnx.numpy_helper.from_array(kernel, "w"),
            onnx.numpy_helper.from_array(np.full(channels, bias, np.float32), "b"),
        ],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(whole, str(path))
    return str(path)


def make(data, **more):
    return run(SaliencyOptions(**{"dataset": str(data), **PLAIN, **more}))


def test_maps_have_the_images_sizes_and_the_models_values(data, tmp_path):
    folder = make(data, onnx=model(tmp_path / "red.onnx"), input_size=64)
    red = read_rgb(data / "JPEGImages" / "p1.png").resize((64, 64), Image.Resampling.BILINEAR).split()[0]
    found = np.asarray(read_gray(folder / "p1.png"), int)
    assert found.shape == (36, 44)
    assert np.abs(found - np.asarray(red.resize((44, 36), Image.Resampling.BILINEAR), int)).max() <= 2


def test_maps_of_a_photo_that_an_older_file_replaced_are_made_again(data, tmp_path, capsys):
    red = model(tmp_path / "red.onnx")
    folder = make(data, onnx=red)
    before = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    for name in ("p0", "p1"):  # the map of p0 is of another program
        write_image(data / "JPEGImages" / f"{name}.png", np.full((36, 44, 3), 90, np.uint8))
        os.utime(data / "JPEGImages" / f"{name}.png", (10**9, 10**9))
    make(data, onnx=red)
    assert "1 saliency maps written, 2 kept" in capsys.readouterr().out
    changed = [name for name, content in before.items() if (folder / name).read_bytes() != content]
    assert changed == ["p1.png"]
    make(data, onnx=red)
    assert "0 saliency maps written, 3 kept" in capsys.readouterr().out


def test_only_missing_maps_are_made_and_others_are_kept(data, tmp_path, capsys):
    red = model(tmp_path / "red.onnx")
    folder = make(data, onnx=red)
    assert np.asarray(read_gray(folder / "p0.png")).max() == 7
    stamp = (folder / "p1.png").stat().st_mtime_ns
    (folder / "p2.png").unlink()
    make(data, onnx=red)
    assert (folder / "p1.png").stat().st_mtime_ns == stamp and (folder / "p2.png").is_file()
    assert "1 saliency maps written, 2 kept" in capsys.readouterr().out
    make(data, onnx=red, overwrite=True)
    assert np.asarray(read_gray(folder / "p0.png")).max() > 7


def test_maps_of_two_models_made_here_never_stand_together(data, tmp_path):
    folder = make(data, onnx=model(tmp_path / "red.onnx"))
    for _ in range(2):  # also where none is missing
        with pytest.raises(UserError, match=r"onnx: was red\.onnx, is blue\.onnx"):
            make(data, onnx=model(tmp_path / "blue.onnx"))
        (folder / "p2.png").unlink(missing_ok=True)
    with pytest.raises(UserError, match="model: was"):
        make(data, onnx=model(tmp_path / "red.onnx", weights=(0.0, 1.0, 0.0)))  # the file was replaced
    assert not (folder / "p2.png").exists()
    record = folder / "saliency_settings.json"
    made = json.loads(record.read_text())
    del made["model"]
    record.write_text(json.dumps(made))  # of a version that did not store the digest
    make(data, onnx=str(tmp_path / "red.onnx"))
    assert (folder / "p2.png").exists() and "model" in json.loads(record.read_text())


def test_min_max_stretches_each_map_and_flat_maps_become_zero(data, tmp_path):
    folder = make(data, onnx=model(tmp_path / "a.onnx", weights=(0.1, 0, 0), bias=3), min_max=True)
    values = np.asarray(read_gray(folder / "p1.png"))
    assert values.min() < 30 and values.max() > 225
    flat = make(data, onnx=model(tmp_path / "b.onnx", weights=(0, 0, 0), bias=3), min_max=True, out=str(tmp_path / "o"))
    assert np.asarray(read_gray(flat / "p1.png")).max() == 0


def test_sigmoid_and_normalisation(data, tmp_path):
    constant = model(tmp_path / "a.onnx", weights=(0, 0, 0), bias=1.0)
    assert set(np.unique(read_gray(make(data, onnx=constant, activation="sigmoid") / "p1.png"))) == {186}
    for path in (data / "JPEGImages").iterdir():
        write_image(path, np.full((36, 44, 3), 102, np.uint8))
    shifted = {"mean": (0.3, 0, 0), "std": (0.2, 1, 1), "out": str(tmp_path / "o")}
    values = np.unique(read_gray(make(data, onnx=model(tmp_path / "b.onnx", weights=(1, 0, 0)), **shifted) / "p1.png"))
    assert values.tolist() in ([127], [128])  # (102 / 255 - 0.3) / 0.2 = 0.5


@pytest.mark.parametrize(
    ("file", "more", "message"),
    [
        ({"bias": 5.0}, {}, r"5[.\d]*\.\.5\.\d+.*--activation=sigmoid"),
        ({"channels": 2}, {}, r"\(1, 2, 320, 320\).*one map"),
        ({"side": 32}, {"input_size": 64}, r"--input_size=64.*32 x 32"),
        ({}, {"output": 1}, r"--output=1"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(data, tmp_path, file, more, message):
    with pytest.raises(UserError, match=message):
        make(data, onnx=model(tmp_path / "a.onnx", **file), **more)
    assert not (data / "Sal" / "p1.png").exists()


def test_a_models_own_size_is_taken(data, tmp_path):
    assert (make(data, onnx=model(tmp_path / "a.onnx", side=32)) / "p1.png").is_file()


def test_a_file_that_is_no_model_and_missing_images_are_named(data, tmp_path):
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the model file")
    (tmp_path / "a.onnx").write_text("none")
    with pytest.raises(UserError, match=r"a\.onnx: "):
        make(data, onnx=str(tmp_path / "a.onnx"))
    (data / "JPEGImages" / "p2.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 .*--image_dir"):
        make(data, onnx=str(tmp_path / "a.onnx"))


def fake_rembg(monkeypatch, *, is_local=True):
    """A stub of rembg's interface: new_session(name), remove(image, session=…, only_mask=True)."""
    session = types.SimpleNamespace(is_local=lambda: is_local)

    def remove(image, *, session, only_mask):
        assert only_mask and session is fake.session and not image.getexif()
        return image.getchannel("G")

    fake = types.SimpleNamespace(new_session=lambda name: fake.names.append(name) or session, remove=remove)
    fake.names, fake.session = [], session
    monkeypatch.setitem(sys.modules, "rembg", fake)
    return fake


def test_rembg_makes_the_maps_where_no_file_is_given(data, monkeypatch):
    fake = fake_rembg(monkeypatch)
    exif = Image.Exif()
    exif[0x0112] = 6  # rembg would rotate this photo
    read_rgb(data / "JPEGImages" / "p1.png").save(data / "JPEGImages" / "p1.png", exif=exif)
    folder = make(data, rembg_model="isnet-general-use")
    green = read_rgb(data / "JPEGImages" / "p1.png").getchannel("G")
    assert np.array_equal(read_gray(folder / "p1.png"), green) and fake.names == ["isnet-general-use"]


def test_a_model_that_sends_photos_away_is_refused(data, monkeypatch):
    fake_rembg(monkeypatch, is_local=False)
    with pytest.raises(UserError, match="--rembg_model"):
        make(data)


@pytest.mark.parametrize(("module", "more"), [("rembg", {}), ("onnxruntime", {"onnx": "a.onnx"})])
def test_a_missing_extra_says_how_to_install_it(data, tmp_path, monkeypatch, module, more):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "a.onnx").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"`pip install '?{module}"):
        make(data, **more)
    assert not (data / "Sal" / "saliency_settings.json").exists()
