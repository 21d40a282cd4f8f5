import copy

import pytest
import torch

from models import build_cam_net, cam_head, load_weights
from models.attention import ATTENTION
from models.cam_head import move_by_affinity
from models.errors import ModelOptionError, WeightsError
from tests.golden_recipe import assert_matches, golden_arrays, golden_input, golden_shapes, golden_state

NARROW = 1 / 16
# a softmax is invariant to a constant added to its inputs, so these never get a gradient
WITHOUT_EFFECT = ("key_conv.bias", "ch_wq.bias")


def narrow(num_classes=3, width=NARROW, **options):
    torch.manual_seed(0)
    return build_cam_net("resnet38", num_classes, width=width, **options)


def image(size=48, batch=2):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def full_size_on_meta(**options):
    with torch.device("meta"):
        return build_cam_net("resnet38", 20, **options)


def test_state_dict_has_the_published_names_and_shapes():
    net = full_size_on_meta(attention="se", suppression="learnable")
    own = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert own == golden_shapes("resnet38_l2g_keys.tsv")


def test_full_network_gives_the_published_numbers():
    net = full_size_on_meta(attention="se", suppression="learnable").eval()
    net.load_state_dict(golden_state(golden_shapes("resnet38_l2g_keys.tsv")), assign=True)
    golden = golden_arrays("resnet38.npz")
    for tag, shape in (("open-a", (1, 3, 96, 128)), ("open-b", (2, 3, 65, 81))):
        with torch.no_grad():
            x = golden_input(tag, shape)
            features = net.features(x)
            cams, scores = net.head(x, features)
        assert_matches(cams, golden[f"{tag}.cam"])
        assert_matches(scores, golden[f"{tag}.pred"])
        assert_matches(features.conv6.mean(), golden[f"{tag}.conv6_mean"])
        assert_matches(features.conv6.std(), golden[f"{tag}.conv6_std"])


@pytest.mark.parametrize("suppression", ["none", "fixed:0.55", "learnable"])
@pytest.mark.parametrize("attention", ["none", *ATTENTION, "se+sa", "psa_channel+psa_spatial"])
def test_every_trainable_parameter_gets_a_gradient(attention, suppression):
    net = narrow(attention=attention, suppression=suppression).eval()
    for name, parameter in net.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.7)  # at its initial 0, the others would get no gradient in the first step
    cams, scores = net(image(32, batch=1))
    assert cams.shape == (1, 4, 4, 4) and scores.shape == (1, 3)
    (cams.square().mean() + scores.square().mean()).backward()
    without = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert [n for n in without if not n.endswith(WITHOUT_EFFECT)] == []


def test_suppression_after_every_stage():
    net = narrow(suppression="learnable", suppression_stages=range(2, 8))
    names = {name for name, _ in net.named_children() if name.startswith("DRS_")}
    assert names == {f"DRS_learnable_layer{stage}" for stage in range(2, 8)}
    assert net(image()).cams.isfinite().all()


def test_affinity_in_blocks_is_the_affinity_at_once(monkeypatch):
    maps, features = image(12), image(12) + 1
    at_once = move_by_affinity(maps, features)
    monkeypatch.setattr(cam_head, "AFFINITY_ENTRIES", 1000)
    torch.testing.assert_close(move_by_affinity(maps, features), at_once)


def test_affinity_does_not_train_the_backbone_through_conv4_and_conv5():
    net = narrow()
    features = net.features(image())
    features = features._replace(conv4=features.conv4.detach().requires_grad_(), conv5=features.conv5.detach())
    net.head(image(), features).cams.sum().backward()
    assert features.conv4.grad is None and net.f8_3.weight.grad.any()


def test_bfloat16_and_channels_last_agree_with_float32():
    net = narrow(attention="se+sa", suppression="learnable").eval()
    with torch.no_grad():
        expected = net(image())
        last = net.to(memory_format=torch.channels_last)(image().contiguous(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            half = net(image())
    torch.testing.assert_close(last.cams, expected.cams)
    scale = expected.cams.abs().max()
    assert (half.cams.float() - expected.cams).abs().max() < 0.05 * scale


def test_parameter_kinds_cover_every_parameter():
    net = narrow(attention="se+gam", suppression="learnable")
    kinds = net.parameter_kinds()
    assert kinds.keys() == dict(net.named_parameters()).keys()
    new = {name for name, kind in kinds.items() if kind == "new"}
    assert {"fc8.weight", "f9.weight", "b6.se_layer.fc.0.weight", "DRS_learnable_layer7.fc.0.weight"} <= new
    assert kinds["conv1a.weight"] == kinds["b7.conv_branch2b2.weight"] == kinds["bn7.weight"] == "pretrained"


def test_freeze_outlasts_train_and_spares_attention():
    net = narrow(attention="gam")
    net.freeze(stages=2, batch_norm=True)
    net.eval().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net(image())
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed and all("gam_layer" in name for name in changed)
    fixed = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert {"conv1a.weight", "b2.conv_branch2a.weight", "b2_2.conv_branch2b1.weight", "bn7.bias"} <= fixed
    assert not any(name.startswith(("b3.conv", "f9", "b6.gam_layer")) for name in fixed)


def trained_names(net):
    """Trained parameters by their kind."""
    kinds = net.parameter_kinds()
    names = {"pretrained": set(), "new": set()}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            names[kinds[name]].add(name)
    return names


def test_published_gates_train_convolutions_alone():
    net = narrow(attention="se", suppression="learnable")
    # 43 and 4, as a published checkpoint's optimiser counts them
    net.freeze(stages=0, batch_norm=True, published_gates=True)
    assert {kind: len(names) for kind, names in trained_names(net).items()} == {"pretrained": 43, "new": 4}
    net.freeze(stages=2, batch_norm=True, published_gates=True)
    names = trained_names(net)
    assert names["new"] == {"fc8.weight", "f8_3.weight", "f8_4.weight", "f9.weight"}
    assert "b7.conv_branch2b2.weight" in names["pretrained"]
    assert not any(name.startswith(("conv1a", "b2.", "b2_")) for name in names["pretrained"])


@pytest.mark.parametrize(
    ("attention", "convolutions"),
    [
        ("se", set()),
        ("eca", set()),
        ("nam", set()),
        ("cam", set()),
        ("pam", {"query_conv", "key_conv", "value_conv"}),
        ("gam", {"spatial_attention"}),
    ],
)
def test_published_gates_of_attention_learn_as_pretrained_layers_or_not(attention, convolutions):
    net = narrow(attention=attention)
    net.freeze(stages=2, batch_norm=True, published_gates=True)
    names = trained_names(net)
    gates = {name for name in names["pretrained"] | names["new"] if f"{attention}_layer" in name}
    assert {name.split(".")[2] for name in gates} == convolutions
    assert gates <= names["pretrained"]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()(image())  # batch norms of attention also keep their statistics
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_gates_are_trained_as_new_layers_by_default():
    net = narrow(attention="se", suppression="learnable")
    net.freeze(stages=2, batch_norm=True)
    assert {"b6.se_layer.fc.0.weight", "DRS_learnable_layer7.fc.0.weight"} <= trained_names(net)["new"]


def test_freezing_nothing_changes_nothing():
    net = narrow()
    net.freeze(stages=0, batch_norm=False)
    assert all(parameter.requires_grad for parameter in net.parameters()) and net.bn7.training


def test_load_backbone_takes_a_wrapped_state_and_leaves_the_head():
    source, target = narrow(), narrow(num_classes=5, attention="se")
    head = target.fc8.weight.clone()
    target.load_backbone({f"module.{name}": tensor + 1 for name, tensor in source.state_dict().items()})
    torch.testing.assert_close(target.b5.conv_branch2a.weight, source.b5.conv_branch2a.weight + 1)
    assert torch.equal(target.fc8.weight, head)


def test_load_backbone_names_what_is_missing():
    net = narrow()
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("b7.")}
    with pytest.raises(WeightsError) as error:
        net.load_backbone(state)
    assert len(error.value.misfit.missing) == 16 and not error.value.misfit.misshapen
    with pytest.raises(WeightsError) as error:
        narrow(width=1 / 8).load_backbone(net.state_dict())
    assert error.value.misfit.misshapen and not error.value.misfit.missing


def test_load_weights_takes_either_network_of_a_checkpoint():
    one, two, net = narrow(), copy.deepcopy(narrow()), narrow()
    two.fc8.weight.data.fill_(2)
    checkpoint = {"state_dict": one.state_dict(), "local_dict": {f"module.{n}": t for n, t in two.state_dict().items()}}
    load_weights(net, checkpoint, which="local_dict")
    assert (net.fc8.weight == 2).all()
    load_weights(net, checkpoint)
    assert torch.equal(net.fc8.weight, one.fc8.weight)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attention": "se"}, "attention"),
        ({"suppression": "learnable"}, "suppression_stages"),
        ({"num_classes": 7}, "num_classes"),
        ({"width": 1 / 8}, "width"),
    ],
)
def test_load_weights_names_the_options_that_may_differ(options, reason):
    with pytest.raises(WeightsError) as error:
        load_weights(narrow(**options), narrow().state_dict())
    assert reason in error.value.valid
    with pytest.raises(WeightsError) as error:
        load_weights(narrow(), narrow(**options).state_dict())
    assert reason in error.value.valid


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("backbone", "resnet50"),
        ("suppression_stages", [6, 8]),
        ("attention", "best"),
        ("output_stride", 16),
        ("pretrained", True),
        ("num_classes", 0),
    ],
)
def test_impossible_networks_are_errors_that_name_the_option(option, value):
    with pytest.raises(ModelOptionError) as error:
        build_cam_net(**{"backbone": "resnet38", "num_classes": 3} | {option: value})
    assert (error.value.option, error.value.value) == (option, value)
