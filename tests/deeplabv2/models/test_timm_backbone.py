"""Segmentation networks on transformers: the features of timm's own models, in groups that layer decay tells apart."""

import pytest
import torch

from deeplabv2.models import build_segmenter
from models.errors import ModelOptionError
from tests.small_backbones import SMALL_BACKBONES, small_backbones

EACH = pytest.mark.parametrize("name", [name for name in SMALL_BACKBONES if name != "convnext_atto"])
HEADS = pytest.mark.parametrize("head", ["DeepLabV2", "DeepLabV3Plus"])


@pytest.fixture(autouse=True)
def _small():
    with small_backbones():
        yield


def build(name, head="DeepLabV2"):
    torch.manual_seed(0)
    return build_segmenter(f"{head}_timm:{name}", 3)


def images(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@EACH
@HEADS
def test_logits_of_any_size_have_the_stride_and_train_every_parameter(name, head):
    net = build(name, head).eval()
    with torch.no_grad():  # some models start with norms of weight 0, which let nothing through
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    logits = net(images(75, 93))
    assert logits.shape == (2, 3, *(-(-side // net.output_stride) for side in (75, 93)))
    logits.square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@EACH
def test_the_last_map_is_timms_own_with_its_norm(name):
    net = build(name).eval()
    side = 4 * net.output_stride
    with torch.no_grad():
        expected = net.backbone.forward_intermediates(images(side, side), indices=1, norm=True, intermediates_only=True)
        torch.testing.assert_close(net.features(images(side, side))[-1], expected[-1])


@EACH
@HEADS
def test_layer_decay_slows_the_first_layers_most(name, head):
    net = build(name, head)
    groups = net.parameter_groups(lr=1.0, layer_decay=0.5)
    rates = {id(p): group["base_lr"] for group in groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    own = {n: rates[id(p)] for n, p in net.named_parameters() if n.startswith("backbone.")}
    assert max(own.values()) == 0.5 and min(own.values()) == own["backbone.patch_embed.proj.weight"] < 0.2


def test_layer_decay_without_named_layers_is_refused():
    net = build_segmenter("DeepLabV3Plus_ResNet18", 3)
    with pytest.raises(ModelOptionError, match="layer_decay"):
        net.parameter_groups(lr=1.0, layer_decay=0.5)


def test_weights_of_the_whole_model_fill_the_backbone():
    net = build("vit_small_patch14_reg4_dinov2")
    state = {name: tensor + 1 for name, tensor in net.backbone.state_dict().items()}
    found = net.translate(state | {"head.weight": torch.zeros(5, 5)})
    assert found.keys() == {f"backbone.{name}" for name in state}
