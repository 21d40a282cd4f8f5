"""Batch norms computed within convolutions: which ones, the same results, and no stale weights."""

import copy

import pytest
import torch
from torch import nn

from deeplabv2.models import build_segmenter
from models.cam_net import build_cam_net
from models.folding import fold_norms
from utils.runtime.device import autocast

CPU = torch.device("cpu")


def with_statistics(network):
    """Give norms values as after a training."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def pair(**options):
    return with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3, **options), nn.BatchNorm2d(4), nn.ReLU()))


def output_of(network, images):
    output = network(images)
    return getattr(output, "cams", output)


@pytest.mark.parametrize(
    ("build", "pairs"),
    [
        # the norm of the final map, which is a sum, stays
        (lambda: build_cam_net("timm:tf_efficientnet_lite0@4", 3, output_stride=16), 33),
        # in a block, the norm between its convolutions; the one before them reads a sum
        (lambda: build_cam_net("resnet38", 3, width=1 / 16, attention="se", suppression="learnable"), 20),
        (lambda: build_segmenter("DeepLabV2_ResNet101_MSC", 4, width=1 / 16, n_blocks=(1, 1, 1, 1)), 17),
        (lambda: build_segmenter("DeepLabV3Plus_timm:tf_efficientnet_lite0@4", 4, output_stride=16), 44),
        (lambda: build_cam_net("timm:vit_tiny_patch16_224", 3), 0),
    ],
)
def test_networks_give_the_same_with_their_norms_folded(build, pairs):
    plain = with_statistics(build())
    folded = copy.deepcopy(plain)
    assert fold_norms(folded) == pairs
    images = torch.randn(2, 3, 70, 93)
    with torch.inference_mode():
        torch.testing.assert_close(output_of(folded, images), output_of(plain, images), rtol=1e-4, atol=1e-4)
    assert list(folded.state_dict()) == list(plain.state_dict())


def test_a_folded_pair_runs_no_norm(monkeypatch):
    network = pair()
    fold_norms(network)
    expected = network(torch.ones(1, 3, 9, 9))  # with gradients, nothing is folded
    monkeypatch.setattr(nn.BatchNorm2d, "forward", None)
    with torch.no_grad():
        torch.testing.assert_close(network(torch.ones(1, 3, 9, 9)), expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_bias_and_padding_of_the_convolution_are_kept(bias, padding_mode):
    network = pair(padding=1, bias=bias, padding_mode=padding_mode)
    images = torch.randn(2, 3, 8, 9)
    expected = network(images)
    fold_norms(network)
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected)


def test_weights_that_change_later_are_used():
    network, images = pair(), torch.randn(1, 3, 9, 9)
    fold_norms(network)
    with torch.no_grad():
        network(images)
        other = pair()
        other[1].running_mean += 1
        nn.init.normal_(other[0].weight)
        network.load_state_dict(other.state_dict())
        torch.testing.assert_close(network(images), other(images))


def test_a_copy_uses_its_own_weights():
    network, images = pair(), torch.randn(1, 3, 9, 9)
    fold_norms(network)
    with torch.no_grad():
        before = network(images)
        other = copy.deepcopy(network)
        nn.init.zeros_(other[1].weight)
        torch.testing.assert_close(other(images), other[1].bias[None, :, None, None].relu().expand_as(before))
        torch.testing.assert_close(network(images), before)


def test_training_updates_statistics_and_gets_gradients():
    plain, images = pair(), torch.randn(2, 3, 9, 9)
    network = copy.deepcopy(plain)
    fold_norms(network)
    for each in (network, plain):
        each.train()(images).sum().backward()
    torch.testing.assert_close(network[0].weight.grad, plain[0].weight.grad)
    torch.testing.assert_close(network[1].running_mean, plain[1].running_mean)


def test_a_fixed_pair_within_a_training_passes_gradients_on():
    """Also after inference mode, in which its weights were computed."""
    first = nn.Conv2d(3, 3, 1)
    network = nn.Sequential(first, *pair().requires_grad_(False))
    images = torch.randn(2, 3, 9, 9)
    network(images).sum().backward()
    expected, first.weight.grad = first.weight.grad, None
    assert fold_norms(network) == 1
    with torch.inference_mode():
        network(images)
    network(images).sum().backward()
    torch.testing.assert_close(first.weight.grad, expected)


def test_weights_are_converted_for_mixed_precision():
    network = pair().requires_grad_(False)
    fold_norms(network)
    images = torch.randn(1, 3, 9, 9)
    with autocast(CPU, "bf16"):
        half = network(images)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), network(images), rtol=0.05, atol=0.05)


class Twice(nn.Module):
    """Uses a convolution's output again after its norm, as shortcuts do."""

    def __init__(self):
        super().__init__()
        self.pair = pair()

    def forward(self, x):
        x = self.pair[0](x)
        return self.pair[1](x) + x


class Returned(Twice):
    def forward(self, x):
        x = self.pair[0](x)
        return self.pair[1](x), x


class Shared(Twice):
    """One norm after two convolutions."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.pair[1](self.pair[0](x)) + self.pair[1](self.other(x))


@pytest.mark.parametrize("network", [Twice(), Returned(), Shared()], ids=lambda network: type(network).__name__)
def test_an_output_with_other_uses_is_not_folded(network):
    assert fold_norms(network.eval()) == 0


@pytest.mark.parametrize("index", [None, 0])
def test_an_output_that_a_hook_sees_is_not_folded(index):
    """The convolution's own hook, or that of a module which ends in it."""
    start = nn.Sequential(nn.Conv2d(3, 4, 3))
    hooked = start if index is None else start[index]
    hooked.register_forward_hook(lambda module, inputs, output: None)
    assert fold_norms(nn.Sequential(start, nn.BatchNorm2d(4))) == 0


def test_a_hook_after_the_norm_is_no_obstacle():
    network = pair()
    seen = []
    network[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert fold_norms(network) == 1
    with torch.no_grad():
        torch.testing.assert_close(seen[0], network[1](network[0](torch.zeros(1, 3, 64, 64))))


def test_folding_twice_changes_nothing_more():
    network = pair()
    assert (fold_norms(network), fold_norms(network)) == (1, 0)


def test_modes_are_restored():
    network = pair().train()
    network[1].eval()
    fold_norms(network)
    assert [module.training for module in network.modules()] == [True, True, False, True]


class Stored:
    """Counts the bytes of activations that a forward pass stores for the backward pass."""

    def __init__(self, network, images):
        self.found = {}
        with torch.autograd.graph.saved_tensors_hooks(self.see, lambda tensor: tensor):
            self.output = network(images)
        weights = {tensor.untyped_storage()._cdata for tensor in network.state_dict().values()}
        self.bytes = sum(size for key, size in self.found.items() if key not in weights)

    def see(self, tensor):
        storage = tensor.untyped_storage()
        self.found[storage._cdata] = storage.nbytes()
        return tensor


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_fixed_norm_after_a_trained_convolution_gives_the_same_gradients(amp):
    plain = with_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)))
    plain[1].requires_grad_(False)
    folded, images = copy.deepcopy(plain), torch.randn(2, 3, 9, 9)
    fold_norms(folded)
    for network in (plain, folded):
        with autocast(CPU, amp):
            network(images).float().square().sum().backward()
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(folded.get_parameter(name).grad, parameter.grad, rtol=2e-3, atol=2e-3)


def test_a_fixed_norm_does_not_store_its_input():
    plain = with_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True)))
    plain[1].requires_grad_(False)
    folded, images = copy.deepcopy(plain), torch.randn(2, 3, 9, 9)
    fold_norms(folded)
    outputs = 4 * 2 * 8 * 7 * 7
    # without: the norm's input, and the result; with: the result, and eight factors
    difference = Stored(plain, images).bytes - Stored(folded, images).bytes
    assert outputs - 4 * 8 <= difference <= outputs


def test_gradients_of_trained_norms_are_kept():
    """In evaluation mode, but with weights to train."""
    plain, images = pair(), torch.randn(2, 3, 9, 9)
    folded = copy.deepcopy(plain)
    fold_norms(folded)
    for network in (plain, folded):
        network(images).sum().backward()
    torch.testing.assert_close(folded[1].weight.grad, plain[1].weight.grad)
