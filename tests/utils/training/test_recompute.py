"""Activation checkpointing gives the same gradients and the same statistics."""

import copy

import pytest
import torch
from torch import nn

from deeplabv2.settings import Settings
from tests.planned import classifier_task, filled, losses_of, segmentation_task
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.runtime.device import autocast
from utils.training.recompute import recompute_blocks

SMALL = {"resize": 64, "input_size": 64, "crop_size": 48, "num_patches": 4, "frozen_stages": 0}
CLASSIFIERS = {
    "resnet38": {"width": 0.0625, "attention": "se", "suppression": "learnable"},
    "timm:tf_efficientnet_lite0@4": {"output_stride": 16},
    "timm:resnet18": {"output_stride": 16},
    "timm:test_vit": {"attention": "se", "suppression": "learnable"},
}


def step(task, network):
    torch.manual_seed(3)  # dropout
    losses_of(task, network.train(), filled(task.example(2))).total().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def assert_same_step(task):
    plain, again = copy.deepcopy(task.network), copy.deepcopy(task.network)
    assert recompute_blocks(again) > 3
    assert plain.state_dict().keys() == again.state_dict().keys()
    expected, found = step(task, plain), step(task, again)
    assert expected.keys() == found.keys() and expected
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    statistics = again.state_dict()
    assert all(torch.equal(value, statistics[name]) for name, value in plain.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", CLASSIFIERS)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_classifier_has_the_same_gradients(backbone, frozen):
    options = TrainOptions(**SMALL, backbone=backbone, freeze_batch_norm=frozen, **CLASSIFIERS[backbone])
    assert_same_step(classifier_task(options, classes=2, values=True))


@pytest.mark.parametrize("name", ["DeepLabV2_ResNet101_MSC", "DeepLabV3Plus_timm:tf_efficientnet_lite0@4"])
def test_the_segmentation_network_has_the_same_gradients(name):
    flags = [f"--MODEL.NAME={name}", "--MODEL.FREEZE_BATCH_NORM=false", "--IMAGE.SIZE.TRAIN=65"]
    if "ResNet101" in name:
        flags += ["--MODEL.WIDTH=0.0625", "--MODEL.N_BLOCKS=[1,1,1,1]"]
    assert_same_step(segmentation_task(parse_options(Settings, flags), labels=3, values=True))


def test_a_network_that_is_tested_is_not_recomputed():
    task = classifier_task(TrainOptions(**SMALL, width=0.0625), classes=2, values=True)
    recompute_blocks(task.network)
    network = task.network.global_net.eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = network(images).cams
    assert torch.equal(network(images).cams, expected)


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_fast_depthwise_convolutions_are_recomputed_as_they_were(amp):
    """A dilated one stores its sub-grids in bfloat16."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    network, found = nn.Sequential(nn.Sequential(*layers)), []
    for recomputed in (False, True):
        network = copy.deepcopy(network).train()
        if recomputed:
            assert recompute_blocks(network) == 1
        network.zero_grad()
        with autocast(torch.device("cpu"), amp):
            output = network(torch.linspace(-1, 1, 2 * 8 * 9 * 9).reshape(2, 8, 9, 9))
        output.float().square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
