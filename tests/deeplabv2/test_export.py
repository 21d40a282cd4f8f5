"""An exported network gives predict's labels: by onnxruntime alone, and by predict --onnx without torch."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from deeplabv2 import export, predict, train
from deeplabv2.inference import infer_batch, load_trained, make_network
from deeplabv2.settings import Settings
from deeplabv2.step_settings import ExportSettings, PredictSettings
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.data.images import read_label, read_rgb
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT
from utils.training.checkpoint import read_checkpoint, write_checkpoint

onnx = pytest.importorskip("onnx", reason="pip install onnx: it writes the file")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the file")

# height, width: smaller and larger than what the network was trained on, none a multiple of a stride
PHOTOS = {"small": (37, 50), "middle": (90, 61), "large": (181, 243)}
SEEN = 64  # longer side at which the network sees a photo
SMALL_ENOUGH = 0.001  # fraction of pixels that differ: where two labels are equally probable
WITHOUT_TORCH = "import sys, runpy; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
WITHOUT_TORCH += "runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trained network, photos of three sizes, the exported file, and predict's labels of the photos."""
    folder = tmp_path_factory.mktemp("export")
    data = make_segmentation_data(folder)
    network = {"IMAGE__SIZE__BASE": SEEN, "SOLVER__AMP": "off"}
    settings = small_settings(data, Settings, SOLVER__ITER_MAX=1, **network)
    balance(train.run(settings), settings, np.asarray(read_rgb(data / "JPEGImages" / "v1.png")))
    for index, (name, size) in enumerate(PHOTOS.items()):
        photo = Image.open(data / "JPEGImages" / f"v{index}.png").convert("RGB").resize(size[::-1])
        (folder / "photos").mkdir(exist_ok=True)
        photo.save(folder / "photos" / f"{name}.png")
    given = {"image_dir": str(folder / "photos"), "num_workers": 1}
    predict.run(small_settings(data, PredictSettings, out=str(folder / "seen"), **given, **network))
    export.run(small_settings(data, ExportSettings, out=str(folder / "small.onnx"), **network))
    return folder


def balance(checkpoint, settings, photo):
    """Makes all labels equally frequent in a photo, by the head's bias: a network of one step sees one everywhere."""
    network = make_network(settings.MODEL, 3).eval()
    load_trained(network, checkpoint)
    logits = infer_batch(
        network, photo[None], input_format=network.normalisation, device=torch.device("cpu"), amp="off"
    )
    content = read_checkpoint(checkpoint)
    bias = next(name for name in content["state_dict"] if name.endswith("c0.bias"))
    content["state_dict"][bias] -= logits.mean(dim=(0, 2, 3))
    write_checkpoint(checkpoint, content)


def labels_of(folder):
    return {name: read_label(folder / "labels" / f"{name}.png") for name in PHOTOS}


def differing(one, other):
    """The fraction of pixels that differ, over all photos; their sizes must be equal."""
    assert {name: label.shape for name, label in one.items()} == {name: label.shape for name, label in other.items()}
    return np.mean(np.concatenate([(one[name] != other[name]).ravel() for name in one]))


def test_onnxruntime_alone_gives_the_labels_of_predict(made):
    session = onnxruntime.InferenceSession(made / "small.onnx", providers=["CPUExecutionProvider"])
    expected = labels_of(made / "seen")
    assert all(len(np.unique(label)) > 1 for label in expected.values())
    found = {}
    for name in PHOTOS:
        photo = np.asarray(read_rgb(made / "photos" / f"{name}.png"))
        labels, logits = session.run(["labels", "logits"], {"image": np.stack([photo, photo[:, ::-1]])})
        assert labels.dtype == np.uint8 and logits.shape[:2] == (2, 3)
        found[name] = labels[0]
    assert differing(found, expected) <= SMALL_ENOUGH


def test_metadata_name_labels_and_colours(made):
    session = onnxruntime.InferenceSession(made / "small.onnx", providers=["CPUExecutionProvider"])
    content = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert content["labels"] == ["background", "cat", "dog"]
    assert content["palette"] == PALETTE[:3].tolist()
    assert [(x.name, x.type, x.shape) for x in session.get_inputs()] == [("image", "tensor(uint8)", ["N", "H", "W", 3])]


def test_predict_runs_the_file_where_torch_cannot_be_imported(made, tmp_path):
    flags = [f"--onnx={made / 'small.onnx'}", f"--image_dir={made / 'photos'}", f"--out={tmp_path / 'out'}"]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(PROJECT_ROOT / "deeplabv2" / "main.py"), "predict", *flags]
    done = subprocess.run([*command, "--num_workers=1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert differing(labels_of(tmp_path / "out"), labels_of(made / "seen")) <= SMALL_ENOUGH
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        assert [row["photo"] for row in csv.DictReader(file)] == sorted(PHOTOS)
    again = subprocess.run([*command, "--num_workers=1", "--crf"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "3 images done, 0 to do" in again.stdout


def test_a_folder_of_one_network_is_not_continued_by_another(made):
    data, out = made / "toy", str(made / "seen")
    given = {"image_dir": str(made / "photos"), "out": out, "num_workers": 1, "onnx": str(made / "small.onnx")}
    with pytest.raises(UserError, match="--overwrite"):
        predict.run(small_settings(data, PredictSettings, **given))


def test_a_file_of_another_program_is_refused(made, tmp_path):
    core = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[N] x) => (float[N] y) {y = Abs(x)}'
    )
    onnx.save(core, str(tmp_path / "other.onnx"))
    given = {"image_dir": str(made / "photos"), "out": str(tmp_path / "out"), "onnx": str(tmp_path / "other.onnx")}
    with pytest.raises(UserError, match=r"main\.py export"):
        predict.run(small_settings(made / "toy", PredictSettings, **given))


@pytest.mark.parametrize(
    "labels", ["7", "null", "{}", '["background"]', '["background", 1]', '["background", "cat"]', "[" * 99_999, "x"]
)
def test_metadata_that_do_not_name_the_labels_are_refused(made, tmp_path, labels):
    model = onnx.load(made / "small.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"labels": labels, "weights": '"x"'})
    onnx.save(model, tmp_path / "other.onnx")
    given = {"image_dir": str(made / "photos"), "out": str(tmp_path / "out"), "num_workers": 1}
    with pytest.raises(UserError, match=r"other\.onnx"):
        predict.run(PredictSettings(**given, onnx=str(tmp_path / "other.onnx")))
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_network_whose_answer_is_right_for_the_traced_size_alone_is_refused(made, tmp_path, monkeypatch):
    forward = export._Core.forward
    fixed = lambda self, pixels: forward(self, pixels)[:, :, : int(pixels.shape[2]) // 8]  # noqa: E731
    monkeypatch.setattr(export._Core, "forward", fixed)
    with pytest.raises(UserError, match="every size"):
        export.run(small_settings(made / "toy", ExportSettings, out=str(tmp_path / "a.onnx"), IMAGE__SIZE__BASE=SEEN))
    assert not (tmp_path / "a.onnx").exists()


def test_a_missing_onnx_is_named_with_how_to_install_it(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="pip install onnx"):
        export.run(small_settings(made / "toy", ExportSettings, out=str(tmp_path / "a.onnx")))


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        (ExportSettings, {"out": "a.pth"}),
        (ExportSettings, {"out": "a.onnx", "TEST.MIRROR": "true"}),
        (PredictSettings, {"onnx": "a.onnx", "image_dir": "a", "out": "b", "full_size": "true"}),
    ],
)
def test_options_that_an_exported_file_cannot_follow_are_refused(settings, flags, made, capsys):
    with pytest.raises((UserError, SystemExit)):
        small_settings(made / "toy", settings, **flags)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DeepLabV3Plus_timm:efficientnet_lite0", "DeepLabV3Plus_ResNet18"])
@pytest.mark.parametrize("size", [{"IMAGE__SIZE__TEST": 100}, {}], ids=["at most 100", "own size"])
def test_other_networks_give_their_labels_at_their_sizes(made, tmp_path, name, size):
    network = {"MODEL__NAME": name, "MODEL__N_BLOCKS": [3, 4, 23, 3], "MODEL__WIDTH": 1.0, "SOLVER__AMP": "off"}
    network |= {"MODEL__SCALES": [0.5, 0.75], "MODEL__ATROUS_RATES": [6, 12, 18, 24], "EXP__ID": "other"}
    data = made / "toy"
    out = {"EXP__OUTPUT_DIR": str(tmp_path / "out")}
    train.run(small_settings(data, Settings, SOLVER__ITER_MAX=2, **network, **out))
    given = {"image_dir": str(made / "photos"), "num_workers": 1}
    predict.run(small_settings(data, PredictSettings, out=str(tmp_path / "seen"), **given, **network, **out, **size))
    export.run(small_settings(data, ExportSettings, **network | out | size | {"out": str(tmp_path / "n.onnx")}))
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx", providers=["CPUExecutionProvider"])
    found = {}
    for photo in PHOTOS:
        image = np.asarray(read_rgb(made / "photos" / f"{photo}.png"))[None]
        found[photo] = session.run(["labels"], {"image": image})[0][0]
    assert differing(found, labels_of(tmp_path / "seen")) <= SMALL_ENOUGH
