"""The contract of every timm backbone, over one small model of each family with random weights."""

import copy

import pytest
import torch

from models import build_cam_net, load_weights
from models.errors import ModelOptionError
from tests.small_backbones import SMALL_BACKBONES, small_backbones
from utils.training.optimiser import make_optimizer, parameter_groups
from utils.training.settings import Optimiser

EACH = pytest.mark.parametrize("name", SMALL_BACKBONES)
STRIDES = {"convnext_atto": 8, "swin_tiny_patch4_window7_224": 32, "swinv2_tiny_window8_256": 32} | {
    "vit_small_patch14_reg4_dinov2": 14,
    "eva02_tiny_patch14_224": 14,
}
PATCH = 16  # of the others
TOKENS = [name for name in SMALL_BACKBONES if name.startswith(("vit", "eva"))]


@pytest.fixture(autouse=True)
def _small():
    with small_backbones():
        yield


def build(name, **options):
    torch.manual_seed(0)
    return build_cam_net(f"timm:{name}", 3, **options)


def images(height=75, width=93, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@EACH
def test_images_of_any_size_give_maps_of_the_models_stride(name):
    net, stride = build(name, attention="se", suppression="learnable").eval(), STRIDES.get(name, PATCH)
    assert net.output_stride == stride
    for size in ((75, 93), (112, 96), (33, 64)):
        with torch.no_grad():
            cams, scores = net(images(*size))
        assert cams.shape == (2, 4, *(-(-side // stride) for side in size))
        assert scores.shape == (2, 3) and cams.isfinite().all()


@EACH
def test_features_are_timms_own(name):
    net = build(name).eval()
    side = 4 * STRIDES.get(name, PATCH) if STRIDES.get(name) == 14 else 64
    x = images(side, 2 * side)
    with torch.no_grad():
        found = net.features(x)
        theirs = net.backbone.forward_intermediates(x, intermediates_only=True)
        last = net.backbone.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[-1]
    if name == "convnext_atto":  # timm has no norm between its last map and its head's
        last = net.backbone.head.norm(last).relu()
    for ours, expected in zip(found, (theirs[-3], theirs[-2], last)):
        torch.testing.assert_close(ours, expected)


@EACH
@pytest.mark.parametrize("extras", [{}, {"attention": "se+sa", "suppression": "learnable"}])
def test_every_trainable_parameter_gets_a_gradient(name, extras):
    net = build(name, **extras).eval()
    torch.manual_seed(0)  # whatever the network drew, no gate has only units that a ReLU cuts off
    with torch.no_grad():  # some models start with norms of weight 0, which let nothing through
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    cams, scores = net(images())
    (cams.square().mean() + scores.sum()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@EACH
def test_suppression_changes_what_follows_and_keeps_other_tokens(name):
    plain, capped = build(name).eval(), build(name, suppression="fixed:0.1", suppression_stages=(6,)).eval()
    load_weights(capped, plain.state_dict())
    with torch.no_grad():
        before, after = plain.features(images()), capped.features(images())
    torch.testing.assert_close(after.conv4, before.conv4)
    # the maximum is over the padded image, so that it may lie beyond the crop
    assert (after.conv5 <= before.conv5).all() and (after.conv5 < before.conv5).any()
    assert not torch.allclose(after.conv6, before.conv6)


@EACH
def test_a_deep_copy_and_a_loaded_checkpoint_give_the_same_maps(name):
    net = build(name, attention="eca", suppression="learnable").eval()
    twin = copy.deepcopy(net)
    torch.manual_seed(1)
    other = build_cam_net(f"timm:{name}", 3, attention="eca", suppression="learnable").eval()
    load_weights(other, net.state_dict())
    with torch.no_grad():
        expected = net(images()).cams
        net.fc8.weight.zero_()
        torch.testing.assert_close(twin(images()).cams, expected)
        torch.testing.assert_close(other(images()).cams, expected)


@EACH
def test_weights_of_the_whole_model_load_by_name(name):
    source, target = build(name), build(name)
    state = {f"model.{n}": tensor + 1 for n, tensor in source.backbone.state_dict().items()}
    target.load_backbone(state | {"model.head.weight": torch.zeros(5, 5), "model.mask_token": torch.zeros(1)})
    for n, tensor in target.backbone.state_dict().items():
        torch.testing.assert_close(tensor, source.backbone.state_dict()[n] + 1)


def learning(net):
    return {n for n, p in net.named_parameters() if p.requires_grad}


@EACH
def test_freezing_the_backbone_leaves_the_new_layers(name):
    net = build(name, attention="se", suppression="learnable")
    net.freeze(stages="backbone", batch_norm=True)
    new = {n for n, kind in net.parameter_kinds().items() if kind == "new"}
    assert learning(net) == new and not any(n.startswith("backbone.") for n in new)


@pytest.mark.parametrize("name", TOKENS)
def test_freezing_blocks_freezes_the_embedding_with_them(name):
    net = build(name)
    everything = learning(net)
    net.freeze(stages=2, batch_norm=True)
    fixed = {n.removeprefix("backbone.") for n in everything - learning(net)}
    later = ("blocks.2.", "blocks.3.", "norm.")
    assert fixed == {n for n, _ in net.backbone.named_parameters() if not n.startswith(later)}
    with pytest.raises(ModelOptionError, match=r"frozen_stages=5: .*4, the blocks"):
        net.freeze(stages=5, batch_norm=True)


@EACH
@pytest.mark.parametrize("frozen", [0, 1, "backbone"])
def test_with_layer_decay_every_trainable_parameter_is_in_one_group(name, frozen):
    net = build(name, attention="se")
    net.freeze(stages=frozen, batch_norm=False)
    groups = parameter_groups([net], lr=0.1, new_lr_factor=10, layer_decay=0.5)
    make_optimizer(net, groups, Optimiser("adamw", 0.1))  # refuses parameters in two groups or in none
    rates = {id(p): group["base_lr"] for group in groups for p in group["params"]}
    if frozen != "backbone":
        weights = {n: rates[id(p)] for n, p in net.named_parameters() if id(p) in rates and n.endswith("weight")}
        pretrained = [rate for n, rate in weights.items() if n.startswith("backbone.")]
        assert max(pretrained) <= 0.05 and len(set(pretrained)) > 2 and weights["fc8.weight"] == 1.0
    if frozen == 0:
        embedding = rates[id(next(net.backbone.parameters()))]
        assert embedding == min(rates.values()) < 0.05


def test_resnet38_decays_by_its_stages():
    net = build_cam_net("resnet38", 3, width=1 / 16, attention="se")
    depths = net.parameter_depths()
    assert depths["conv1a.weight"] == 6 and depths["bn7.weight"] == 0
    assert {depth for n, depth in depths.items() if n.startswith("b4")} == {3}
    assert set(depths) == {n for n, kind in net.parameter_kinds().items() if kind == "pretrained"}
    rates = {g["name"]: g["base_lr"] for g in parameter_groups([net], lr=1.0, new_lr_factor=1.0, layer_decay=0.5)}
    assert rates and len(parameter_groups([net], lr=1.0, new_lr_factor=1.0)) < 5


def test_a_part_of_a_transformer_ends_with_a_block():
    net = build("vit_small_patch14_reg4_dinov2@3").eval()
    assert len(net.backbone.blocks) == 3
    with torch.no_grad():
        assert net(images()).cams.shape == (2, 4, 6, 7)
    assert build("swin_tiny_patch4_window7_224@3").output_stride == 16


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_another_stride_than_a_transformers_own_is_refused(name):
    with pytest.raises(ModelOptionError) as error:
        build(name, output_stride=8)
    assert error.value.option == "output_stride" and build(name, output_stride=STRIDES.get(name, PATCH))
