"""train_l2g.py --classifier=linear: a logistic regression on the features of the frozen backbone."""

import numpy as np
import pytest
import torch
from PIL import Image

from models.cam_net import build_cam_net
from scripts import make_cams, train
from tests.small_training import make_training_data, small_options
from utils.cam.artefact import read_cam
from utils.config.options import CamOptions
from utils.errors import UserError


@pytest.fixture
def options(tmp_path):
    data = make_training_data(tmp_path)
    torch.manual_seed(0)
    weights = {k: v for k, v in build_cam_net("resnet38", 2, width=0.0625).backbone_state().items()}
    torch.save(weights, tmp_path / "init.pth")

    def make(**more):
        linear = {"init_weights": str(tmp_path / "init.pth"), "classifier": "linear", "cam_scales": (1.0,)}
        return small_options(data, **{**linear, **more})

    return make


def fitted(path):
    network = build_cam_net("resnet38", 2, width=0.0625)
    network.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return network.eval()


def test_the_scores_are_linear_in_the_means_of_the_final_features(options, tmp_path):
    network = fitted(train.run(options()))
    image = torch.from_numpy(np.array(Image.open(tmp_path / "toy" / "JPEGImages" / "p0.png"))).permute(2, 0, 1)
    shift, scale = (torch.tensor(v).view(3, 1, 1) for v in (network.mean, network.std))
    normal = ((image / 255 - shift) / scale)[None]
    with torch.no_grad():
        output, features = network(normal), network.features(normal)
    weights = network.fc8.weight[:, :, 0, 0]
    torch.testing.assert_close(output.scores, features.conv6.mean((2, 3)) @ weights[:-1].T)
    assert not weights[-1].any() and weights[:-1].any()


def test_the_backbone_keeps_its_weights(options, tmp_path):
    before = torch.load(tmp_path / "init.pth", weights_only=True)
    after = fitted(train.run(options())).backbone_state()
    assert before.keys() <= after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


def test_its_cams_are_made_like_those_of_l2g(options, tmp_path):
    train.run(options())
    folder = make_cams.run(
        CamOptions(experiment_name="exp", runs_dir=str(tmp_path / "runs"), device="cpu", num_workers=0)
    )
    keys, cams = read_cam(folder / "p2.npz")
    assert keys.tolist() == [0, 1] and cams.shape == (2, 36, 44) and cams.max() == 255


def test_resuming_keeps_the_fitted_layer(options):
    written = train.run(options())
    before = written.read_bytes()
    with pytest.raises(UserError, match="already exists"):
        train.run(options())
    assert train.run(options(resume=True)).read_bytes() == before
    with pytest.raises(UserError, match=r"other settings \(--cam_base_size: was 0, is 48\)"):
        train.run(options(resume=True, cam_base_size=48))


@pytest.mark.parametrize("facts", [None, 3, [], "text"])
def test_a_checkpoint_without_its_settings_is_refused(options, facts):
    path = train.run(options())
    torch.save({**torch.load(path, weights_only=True), "facts": facts}, path)
    with pytest.raises(UserError, match="no settings of its run"):
        train.run(options(resume=True))


def test_random_features_are_refused(options):
    with pytest.raises(UserError, match="--init_weights is not given, so --classifier=linear would freeze"):
        train.run(options(init_weights="none"))


@pytest.mark.parametrize(
    "wrong", [{"attention": "se"}, {"suppression": "learnable"}, {"cam_activation": "softmax"}, {"cda": "cda"}]
)
def test_options_that_mean_nothing_with_it_are_refused(options, wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))}="):
        options(**wrong)
