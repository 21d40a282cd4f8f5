"""The feature extractor of both networks: sizes that a model does not accept, and maps of padded images."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from deeplabv2.models import build_segmenter
from models import build_cam_net
from models.errors import ModelOptionError
from models.timm_features import cropped, measure, padded
from models.weights import without_step_counts
from utils.files.locate import PROJECT_ROOT

# sides of photographs, or of them at a small scale: odd ones, and shorter than a stride
SIZES = ((1, 1), (5, 7), (7, 300), (31, 33), (75, 93), (64, 96))
# a model of each way to deal with what does not fill a stride: padding inside, dropping it, failing; output stride
FAMILIES = {
    "resnet18": None,
    "test_efficientnet": None,
    "test_vit": None,
    "test_convnext": None,
    "edgenext_xx_small": 32,
    "dla46_c": 32,
    "mobilevitv2_050": 16,
    "lcnet_035": 32,
}
LITE = "timm:tf_efficientnet_lite0"
CHOOSY = "timm:dla34"  # combines maps of several strides, so it only accepts multiples of 32


def images(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def choosy():
    torch.manual_seed(0)
    return build_cam_net(CHOOSY, 3, output_stride=32).eval()


@pytest.mark.parametrize("size", [(75, 93), (64, 96), (33, 128)])
def test_a_backbone_that_takes_whole_multiples_is_padded(choosy, size):
    with torch.no_grad():
        cams, scores = choosy(images(*size))
    assert cams.shape == (2, 4, *(-(-side // 32) for side in size)) and scores.isfinite().all()


def test_padding_leaves_whole_multiples_as_they_are(choosy):
    x = images(64, 96)
    with torch.no_grad():
        torch.testing.assert_close(choosy.features(x).conv6, choosy.backbone(x).relu())


def test_the_segmentation_network_pads_alike():
    torch.manual_seed(0)
    net = build_segmenter(f"DeepLabV2_{CHOOSY}_MSC", 3, output_stride=32).eval()
    with torch.no_grad():
        assert net(images(75, 93)).shape == (2, 3, 3, 3)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """(name, output stride) of a model."""
    return request.param, FAMILIES[request.param]


def covered(size, stride):
    return tuple(-(-side // stride) for side in size)


def test_whatever_is_built_gives_maps_that_cover_images_of_every_size(family):
    torch.manual_seed(0)
    name, stride = family
    net = build_cam_net(f"timm:{name}", 3, output_stride=stride).eval()
    for size in SIZES:
        with torch.no_grad():
            cams, scores = net(images(*size))
        assert cams.shape == (2, 4, *covered(size, net.output_stride)), size
        assert cams.isfinite().all() and scores.isfinite().all(), size


def test_the_segmentation_network_covers_images_of_every_size(family):
    torch.manual_seed(0)
    name, stride = family
    net = build_segmenter(f"DeepLabV2_timm:{name}", 3, output_stride=stride).eval()
    for size in SIZES:
        with torch.no_grad():
            logits = net(images(*size))
        assert logits.shape == (2, 3, *covered(size, net.output_stride)) and logits.isfinite().all(), size


def test_stages_of_several_maps_are_refused():
    with pytest.raises(ModelOptionError) as error:
        build_cam_net("timm:selecsls42", 3, output_stride=32)
    assert error.value.option == "backbone" and "list" in error.value.valid


def test_a_transformer_that_states_no_patch_size_is_refused():
    with torch.device("meta"), pytest.raises(ModelOptionError) as error:
        build_cam_net("timm:mvitv2_tiny", 3, output_stride=32)
    assert error.value.option in ("backbone", "output_stride")


class Dropping(nn.Module):
    """Drops what does not fill a stride of 8, and fails on anything that `fails` says. (N, 3, H, W) -> a map of it."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails

    def forward(self, x):
        if self.fails(*x.shape[2:]):
            raise TypeError
        return x[..., : x.shape[2] // 8 * 8 : 8, : x.shape[3] // 8 * 8 : 8]


@pytest.mark.parametrize(
    ("fails", "multiple"), [(lambda h, w: False, 8), (lambda h, w: h % 32 or w % 32, 32), (lambda h, w: h < 1, 8)]
)
def test_images_are_padded_to_the_least_multiple_that_serves(fails, multiple):
    net = Dropping(fails)
    assert measure(net, lambda x: [net(x)], name="timm:x", channels=[None]).multiple == multiple


def test_a_backbone_that_fails_on_small_images_is_refused_before_the_start():
    net = Dropping(lambda h, w: min(h, w) < 64)
    with pytest.raises(ModelOptionError, match="TypeError") as error:
        measure(net, lambda x: [net(x)], name="timm:x", channels=[None])
    assert error.value.option == "backbone"


class Borderless(nn.Module):
    """Convolutions without padding, as VGG's last one: a border of `border` positions is missing on every side."""

    def __init__(self, border):
        super().__init__()
        self.border = border

    def forward(self, x):
        maps = x[..., ::8, ::8]
        return maps[..., self.border : -self.border, self.border : -self.border] if min(maps.shape[2:]) > 2 else maps


def test_a_backbone_whose_last_maps_leave_a_border_out_is_refused():
    net = Borderless(1)
    with pytest.raises(ModelOptionError, match="border") as error:
        measure(net, lambda x: [net(x)], name="timm:x", channels=[None])
    assert error.value.option == "backbone"
    finer = lambda x: [net(x), x[..., ::8, ::8]]  # noqa: E731
    assert measure(net, finer, name="timm:x", channels=[None, None]).stride == 8


def test_padded_and_cropped_are_inverse_up_to_the_stride():
    x = images(75, 93)
    whole = padded(x, 32)
    assert whole.shape == (2, 3, 96, 96) and torch.equal(whole[..., :75, :93], x) and not whole[..., 75:, :].any()
    assert cropped(whole[..., ::8, ::8], whole, x).shape == (2, 3, 10, 12)
    assert padded(x, 1) is x


class FixedSize(nn.Module):
    def forward(self, x):
        if x.shape[2:] != (64, 64):
            raise AssertionError("64 only")
        return x[..., ::8, ::8]


def test_a_backbone_of_one_size_is_refused_before_the_start():
    net = FixedSize()
    with pytest.raises(ModelOptionError) as error:
        measure(net, lambda x: [net(x)], name="timm:fixed", channels=[None])
    assert (error.value.option, error.value.value) == ("backbone", "timm:fixed")
    assert net.training


def test_a_model_is_used_up_to_a_feature_map():
    whole, part = (build_cam_net(name, 3, output_stride=16).eval() for name in (LITE, f"{LITE}@4"))
    own = without_step_counts(part.backbone_state())
    assert len(own) < len(without_step_counts(whole.backbone_state()))
    part.load_backbone(whole.backbone_state())
    with torch.no_grad():
        torch.testing.assert_close(part.features(images(64, 64)).conv5, whole.features(images(64, 64)).conv4)
    assert part.output_stride == 16


def test_the_segmentation_network_is_cut_alike():
    whole, part = (build_segmenter(f"DeepLabV2_{name}", 3, output_stride=16).eval() for name in (LITE, f"{LITE}@4"))
    state = whole.backbone.state_dict()
    part.load_state_dict(part.translate(state), strict=False)
    assert len(part.backbone.blocks) == 5 < len(whole.backbone.blocks)
    assert torch.equal(part.backbone.blocks[4][2].bn3.bias, state["blocks.4.2.bn3.bias"])


@pytest.mark.parametrize("name", ["timm:test_efficientnet@2", "timm:test_efficientnet@x", "timm:test_efficientnet@9"])
def test_a_cut_that_the_model_does_not_have_is_refused(name):
    with pytest.raises(ModelOptionError) as error:
        build_cam_net(name, 3)
    assert error.value.option == "backbone"


def test_the_head_of_a_cut_model_sees_normalised_maps_whatever_is_frozen():
    torch.manual_seed(0)
    net = build_cam_net(f"{LITE}@4", 3, output_stride=16)
    net.freeze(stages=3, batch_norm=True)
    net.train()
    with torch.no_grad():
        maps = net.features(100 * images(64, 64)).conv6
    assert maps.square().mean(dim=(0, 2, 3)).max() < 1.1  # half of a unit variance on average, never more than all
    assert all(parameter.requires_grad for parameter in net.final_norm.parameters())


def test_networks_without_a_timm_backbone_do_not_import_timm():
    script = "import sys, models, deeplabv2.models; models.build_cam_net('resnet38', 2, width=1 / 16); "
    script += "deeplabv2.models.build_segmenter('DeepLabV2_ResNet101', 3, n_blocks=(1, 1, 1, 1), width=1 / 8); "
    ended = subprocess.run(
        [sys.executable, "-c", script + "sys.exit('timm' in sys.modules)"], cwd=PROJECT_ROOT, check=False
    )
    assert ended.returncode == 0
