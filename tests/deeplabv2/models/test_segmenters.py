"""Every network: published names and numbers, shapes, parameter groups, frozen batch norms."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet101

from deeplabv2.inference import make_network
from deeplabv2.losses import total_loss
from deeplabv2.models import build_segmenter
from deeplabv2.models.segmenter import MultiScale
from deeplabv2.settings import ModelSettings
from models.errors import ModelOptionError
from tests.golden_recipe import assert_matches, golden_arrays, golden_input, golden_shapes, golden_state
from utils.errors import UserError

PUBLISHED = "DeepLabV2_ResNet101_MSC"
KEYS = "deeplabv2_resnet101_msc_keys.tsv"
SMALL = {"n_blocks": (1, 1, 1, 1), "width": 1 / 8}
# name, options for a small network
NETWORKS = [
    ("DeepLabV2_ResNet101", SMALL),
    (PUBLISHED, SMALL),
    ("DeepLabV2_timm:test_efficientnet", {}),
    ("DeepLabV2_timm:test_efficientnet_MSC", {"output_stride": 16}),
    ("DeepLabV3Plus_ResNet18", {}),
    ("DeepLabV3Plus_timm:test_efficientnet", {}),
    ("DeepLabV3Plus_timm:test_efficientnet_MSC", {"output_stride": 8}),
    ("DeepLabV2_timm:test_vit_MSC", {}),
    ("DeepLabV3Plus_timm:test_vit", {}),
]
EACH = pytest.mark.parametrize(("name", "options"), NETWORKS, ids=[name for name, _ in NETWORKS])


def build(name=PUBLISHED, num_labels=4, **options):
    torch.manual_seed(0)
    return build_segmenter(name, num_labels, **options)


def images(height=49, width=65, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def full_size_on_meta(name=PUBLISHED):
    with torch.device("meta"):
        return build_segmenter(name, 21)


def test_state_dict_has_the_published_names_and_shapes():
    own = {name: tuple(tensor.shape) for name, tensor in full_size_on_meta().state_dict().items()}
    assert own == golden_shapes(KEYS)


def test_single_scale_drops_the_prefix_alone():
    single = full_size_on_meta("DeepLabV2_ResNet101").state_dict()
    assert [f"base.{name}" for name in single] == list(golden_shapes(KEYS))


def test_full_network_gives_the_published_numbers():
    net = full_size_on_meta()
    net.load_state_dict(golden_state(golden_shapes(KEYS)), assign=True)
    golden, x = golden_arrays("deeplabv2.npz"), golden_input("open-dl", (1, 3, 97, 129)) * 50
    with torch.no_grad():
        assert_matches(net.eval()(x), golden["eval"])
        for i, logits in enumerate(net.train()(x)):
            assert_matches(logits, golden[f"train{i}"])


@EACH
def test_training_gives_every_scale_and_their_maximum_testing_the_maximum(name, options):
    net = build(name, **options)
    scales = net.train()(images())
    with torch.no_grad():
        tested = net.eval()(images())
    assert tested.shape[:2] == (2, 4)
    assert tested.shape[2:] == tuple(-(-side // net.output_stride) for side in (49, 65))
    if isinstance(net, MultiScale):
        full, half, three_quarters, maximum = scales
        assert half.shape[2] < three_quarters.shape[2] < full.shape[2]
        assert (maximum >= full).all() and (maximum > full).any()
    else:
        (maximum,) = scales
    assert maximum.shape == tested.shape


@EACH
def test_every_trainable_parameter_stands_in_one_group_and_learns(name, options):
    net = build(name, freeze_batch_norm=False, **options)
    optimizer = torch.optim.SGD(net.parameter_groups(lr=0.1), lr=0.1)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    labels = torch.randint(0, 4, (2, 49, 65), generator=torch.Generator().manual_seed(2))
    total_loss(net(images()), labels).backward()
    optimizer.step()
    assert [n for n, p in net.named_parameters() if torch.equal(p, before[n])] == []


@EACH
def test_groups_have_the_published_rates(name, options):
    net = build(name, **options)
    rates, decays = {}, {}
    for group in net.parameter_groups(lr=0.001):
        for parameter in group["params"]:
            rates[id(parameter)], decays[id(parameter)] = group["base_lr"], group.get("weight_decay")
    for parameter_name, parameter in net.named_parameters():
        if parameter.requires_grad:
            head, bias = net.is_head(parameter_name), parameter_name.endswith("bias")
            assert rates[id(parameter)] == pytest.approx(0.001 * ((20 if bias else 10) if head else 1)), parameter_name
            assert decays[id(parameter)] == (0.0 if head and bias else None), parameter_name


@EACH
def test_norms_and_biases_are_spared_from_decay_on_request(name, options):
    net = build(name, freeze_batch_norm=False, **options)
    groups = net.parameter_groups(lr=0.001, head_bias_factor=1.0, decay_vectors=False)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    for group in groups:
        spared = group.get("weight_decay") == 0.0
        assert all((parameter.ndim < 2) == spared for parameter in group["params"])
    assert {round(group["base_lr"], 6) for group in groups} == {0.001, 0.01}


def test_the_head_is_the_published_one():
    net = build(**SMALL)
    head = {name for name, kind in net.parameter_kinds().items() if kind == "new"}
    assert head == {f"base.aspp.c{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")}


@EACH
def test_frozen_batch_norms_outlast_train(name, options):
    net = build(name, **options)
    net.eval().train()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    net(images())
    changed = [n for n, t in net.state_dict().items() if not torch.equal(t, before[n])]
    assert all(net.is_head(n) for n in changed)
    norms = [m for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and not net.is_head(n)]
    assert norms or "vit" in name
    assert not any(p.requires_grad for m in norms for p in m.parameters())


# a backbone's stages, and the prefix of the first layer behind the second of them
STAGES = {
    "DeepLabV2_ResNet101": (5, "layer3."),
    "DeepLabV3Plus_ResNet18": (5, "network.encoder.layer2."),
    "test_efficientnet": (5, "backbone.blocks.2."),
    "test_vit": (6, "backbone.blocks.2."),
}


def frozen(net):
    return {name for name, parameter in net.named_parameters() if not parameter.requires_grad}


@EACH
def test_frozen_stages_outlast_a_step_and_the_others_learn(name, options):
    net = build(name, frozen_stages=2, freeze_batch_norm=False, **options)
    prefix = "base." if isinstance(net, MultiScale) else ""
    count, later = STAGES[name.removesuffix("_MSC").rpartition(":")[2]]
    names = [n for n, _ in net.named_parameters()]
    first = next(i for i, n in enumerate(names) if n.startswith(prefix + later))
    assert frozen(net) == {n for n in names[:first] if not net.is_head(n)} != set()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameter_groups(lr=0.1), lr=0.1)
    labels = torch.randint(0, 4, (2, 49, 65), generator=torch.Generator().manual_seed(2))
    total_loss(net.eval().train()(images()), labels).backward()
    optimizer.step()
    kept = {n for n, t in net.state_dict().items() if torch.equal(t, before[n])}
    assert frozen(net) <= kept and not kept & {n for n in names if n not in frozen(net)}
    statistics = {n for n in before if n.endswith("running_mean")}
    assert {n for n in statistics & kept} == {
        n for n in statistics if n.replace("running_mean", "weight") in frozen(net)
    }
    with pytest.raises(ModelOptionError, match=rf"frozen_stages={count + 1}: .*0 \(none\) to {count}"):
        net.freeze(stages=count + 1)


@EACH
def test_freezing_the_backbone_leaves_the_head(name, options):
    net = build(name, frozen_stages="backbone", freeze_batch_norm=False, **options).train()
    assert frozen(net) == {n for n, kind in net.parameter_kinds().items() if kind == "pretrained"}
    live = {n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
    assert all(net.is_head(n) for n in live)


def test_live_batch_norms_learn():
    net = build(freeze_batch_norm=False, **SMALL).train()
    before = net.base.layer1.conv1.bn.running_mean.clone()
    net(images())
    assert not torch.equal(net.base.layer1.conv1.bn.running_mean, before)
    assert all(p.requires_grad for p in net.parameters())


def test_features_are_those_of_torchvision_but_for_strides():
    """Without strides and dilation, the published blocks are equal to torchvision's."""
    torch.manual_seed(0)
    theirs, ours = resnet101().eval(), build("DeepLabV2_ResNet101").eval()
    ours.load_state_dict(ours.translate(theirs.state_dict()), strict=False)
    x = torch.randn(1, 64, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours.layer2(x), theirs.layer1(x))


def test_dilations_reach_every_head():
    for name, options in NETWORKS:
        net = build(name, atrous_rates=(2, 3, 5), **options)
        dilations = {m.dilation[0] for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and net.is_head(n)}
        assert dilations - {1} == {2, 3, 5}, name


@pytest.mark.parametrize("name", ["deeplabv2_resnet101_msc", "DEEPLABV2_RESNET101_MSC"])
def test_names_are_read_in_any_case(name):
    assert build(name, **SMALL).name == PUBLISHED


def test_a_deep_copy_uses_its_own_layers():
    net = build("DeepLabV2_timm:test_efficientnet_MSC").eval()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        expected = net(images())
        net.base.aspp.c0.weight.fill_(9)
        torch.testing.assert_close(twin(images()), expected)


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("DeepLabV2_VGG16", {}, "name"),
        ("DeepLabV2_timm:tf_efficientnet_lit0", {}, "backbone"),
        ("DeepLabV2_timm:test_vit", {"output_stride": 8}, "output_stride"),
        ("DeepLabV3Plus_timm:test_vit", {"output_stride": 8}, "output_stride"),
        ("DeepLabV2_timm:vgg11", {}, "output_stride"),
        ("DeepLabV2_timm:test_efficientnet", {"width": 0.5}, "width"),
        ("DeepLabV3Plus_vgg11", {}, "name"),
        ("DeepLabV3Plus_ResNet18", {"output_stride": 4}, "output_stride"),
        ("DeepLabV3Plus_ResNet18", {"atrous_rates": (6, 12)}, "atrous_rates"),
        ("DeepLabV2_ResNet101", {"scales": (0.5,)} | SMALL, "scales"),
        (PUBLISHED, {"output_stride": 32}, "output_stride"),
        (PUBLISHED, {"n_blocks": (1, 1)}, "n_blocks"),
        (PUBLISHED, {"scales": ()} | SMALL, "scales"),
        (PUBLISHED, {"atrous_rates": (0, 6)} | SMALL, "atrous_rates"),
        (PUBLISHED, {"num_labels": 1}, "num_labels"),
    ],
)
def test_impossible_networks_are_errors_that_name_the_option(name, options, refused):
    with pytest.raises(ModelOptionError) as error:
        build(name, **options)
    assert error.value.option == refused


@pytest.mark.parametrize(
    ("model", "setting", "value"),
    [
        (ModelSettings(NAME="DeepLabV2_timm:no_such_model"), "MODEL.NAME", "timm:no_such_model"),
        (ModelSettings(OUTPUT_STRIDE=32), "MODEL.OUTPUT_STRIDE", "32"),
    ],
)
def test_an_impossible_network_is_a_users_error_that_names_the_setting(model, setting, value):
    with pytest.raises(UserError) as error:
        make_network(model, 3)
    assert (error.value.where, error.value.what) == (setting, value)
