"""What depends on the device alone."""

import copy

import pytest
import torch
from torch import nn

from models.cam_net import build_cam_net
from utils.errors import UserError
from utils.runtime.device import GPU_BATCH, inference_batch, move_network, to_channels_last

CPU = torch.device("cpu")


def test_a_gpu_takes_several_images_together_and_a_given_number_is_taken():
    assert GPU_BATCH > 1
    assert inference_batch(0, torch.device("cuda", 0)) == GPU_BATCH and inference_batch(0, torch.device("cpu")) == 1
    assert inference_batch(3, torch.device("cuda", 0)) == inference_batch(3, torch.device("cpu")) == 3


def layouts_of(network, image):
    """Return layer -> whether its weight and its input are channels-last, in a forward pass."""
    seen = {}
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, _output, name=name: seen.update(
                {name: tuple(is_channels_last(x) for x in (layer.weight, inputs[0]))}
            )
        )
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1  # the strides of depthwise weights do not tell
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    return seen


def is_channels_last(x):
    return x.stride(1) == 1 and x.stride(3) == x.shape[1] > 1


@pytest.mark.parametrize("classes", [2, 20])
def test_few_classes_leave_only_the_last_layer_plain_and_give_the_same_gradients(classes):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 64, 64)
    plain = build_cam_net("timm:test_efficientnet", classes)
    last = copy.deepcopy(plain)
    narrow = to_channels_last(last, CPU)
    assert narrow == (["fc8"] if classes == 2 else [])
    layouts = layouts_of(last, image)
    assert {name for name, (weight, _) in layouts.items() if not weight} == set(narrow)
    # the image comes as it is, and pooled features of one pixel have no layout
    for name, (_, is_last) in layouts.items():
        assert is_last or name in (*narrow, "backbone.conv_stem", "f9") or ".se." in name, name
    for name in narrow:
        assert layouts[name] == (False, False)
    sums = []
    for network in (plain, last):
        output = network(image)
        (output.cams.square().mean() + output.scores.sum()).backward()
        sums.append(output.cams.detach())
    torch.testing.assert_close(*sums)
    for (name, one), other in zip(plain.named_parameters(), last.parameters()):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_a_narrow_layer_on_one_pixel_computes_in_the_plain_layout():
    layer = nn.Sequential(nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1))
    assert to_channels_last(layer, CPU) == ["0"]
    pixel = torch.randn(2, 16, 1, 1).to(memory_format=torch.channels_last)
    seen = {}
    layer[0].register_forward_hook(lambda _layer, inputs, _output: seen.update(stride=inputs[0].stride()))
    layer(pixel)
    assert seen["stride"] == (16, 1, 1, 1) and layer[0].weight.stride() == (16, 1, 1, 1)


def test_a_gpu_takes_every_layer_in_channels_last():
    layer = nn.Sequential(nn.Conv2d(16, 4, 3))
    assert to_channels_last(layer, torch.device("cuda", 0)) == [] and is_channels_last(layer[0].weight)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")]
)
def test_a_device_that_others_have_filled_is_one_line(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(nn.Module, "to", fail)
    with pytest.raises(UserError, match=r"out of memory.*nvidia-smi"):
        move_network(nn.Linear(1, 1), torch.device("cuda"))
