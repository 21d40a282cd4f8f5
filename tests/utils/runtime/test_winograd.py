import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.resnet38 import ResNet38Cam
from utils.runtime import winograd
from utils.runtime.device import autocast

CPU = torch.device("cpu")
SIZES = [((2, 5, 9, 11), 7, 1), ((1, 4, 8, 8), 3, 2), ((2, 3, 13, 10), 5, 4), ((1, 6, 3, 2), 6, 4)]


@pytest.fixture
def small(monkeypatch):
    """Networks with few channels and small maps use the fast way too."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", {torch.float32: 4, torch.bfloat16: 4})
    monkeypatch.setattr(winograd, "LEAST_TILES", 4)


def last(*size: int) -> torch.Tensor:
    return torch.randn(*size).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("most_transformed", [winograd.MOST_TRANSFORMED, 0])
@pytest.mark.parametrize(("size", "out", "dilation"), SIZES)
def test_values_and_gradients_are_those_of_the_convolution(size, out, dilation, most_transformed, monkeypatch):
    monkeypatch.setattr(winograd, "MOST_TRANSFORMED", most_transformed)
    torch.manual_seed(0)
    x = torch.randn(size, dtype=torch.double, requires_grad=True)
    weight = torch.randn(out, size[1], 3, 3, dtype=torch.double, requires_grad=True)
    expected = F.conv2d(x, weight, padding=dilation, dilation=dilation)
    found = winograd.convolve(x, weight, dilation)
    grad = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(*(torch.autograd.grad(y, (x, weight), grad) for y in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(winograd.convolve(x, weight, dilation), expected)


def test_few_maps_are_transformed_at_a_time(monkeypatch):
    sizes = []
    inputs = winograd._inputs
    monkeypatch.setattr(winograd, "_inputs", lambda *args: sizes.append(inputs(*args).nbytes) or inputs(*args))
    x, weight = last(6, 32, 16, 16), torch.randn(64, 32, 3, 3, requires_grad=True)
    of_an_image = 16 * 64 * 64 * 4  # 64 tiles, 64 channels
    monkeypatch.setattr(winograd, "MOST_TRANSFORMED", 2 * of_an_image)
    winograd.convolve(x, weight, 1).sum().backward()
    assert sizes == [2 * of_an_image // 2] * 6  # of 32 channels, forward and for the gradient of the weights


@pytest.mark.parametrize("side", [2, 4])
def test_a_tile_by_hand(side):
    """Lavin & Gray, sec. 4.1: a 4 x 4 tile of ones and a filter of ones give nine in each of its 2 x 2 outputs."""
    ones = torch.ones(1, 1, 4, 4, dtype=torch.double)
    outputs = winograd._product(ones, winograd._filters(ones[:, :, :3, :3], side), 1)
    rows = torch.tensor([2.0, 3, 3, 2], dtype=torch.double)
    torch.testing.assert_close(outputs[0, 0], rows[:, None] * rows)


def test_in_use_tiles_are_larger_and_nearly_as_exact():
    torch.manual_seed(0)
    x, weight = last(1, 512, 32, 32), torch.randn(512, 512, 3, 3, requires_grad=True) / 68
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    trained = winograd.convolve(x, weight, 1)
    with torch.no_grad():
        used = winograd.convolve(x, weight, 1)
    assert (trained - exact).norm() < (used - exact).norm() < 1e-5 * exact.norm()


def test_the_whole_network_gives_the_same_in_training_and_in_use(small, monkeypatch):
    torch.manual_seed(0)
    network = ResNet38Cam(3, width=1 / 16, dropout=(0.0, 0.0)).to(memory_format=torch.channels_last)
    image = last(2, 3, 48, 40)
    calls = []
    product = winograd._product
    monkeypatch.setattr(winograd, "_product", lambda *args: calls.append(1) or product(*args))

    def run(fast: bool) -> list[torch.Tensor]:
        monkeypatch.setattr(winograd, "LEAST_TILES", 4 if fast else 10**9)
        ours = copy.deepcopy(network).train()
        with autocast(CPU, "off"):
            conv6 = ours.features(image).conv6
        conv6.square().mean().backward()
        with torch.no_grad(), autocast(CPU, "off"):
            used = ours.eval().features(image).conv6
        return [conv6, used, *(p.grad for p in ours.parameters() if p.grad is not None)]

    plain = run(False)
    assert not calls
    for ours, expected in zip(run(True), plain, strict=True):
        assert (ours - expected).norm() <= 1e-4 * expected.norm() + 1e-7
    assert len(calls) > 40  # forward, input gradients, and in use


def test_only_large_convolutions_that_keep_the_size_are_exchanged():
    def is_fast(x: torch.Tensor, amp: str = "off", side: int = 3, **geometry: int) -> bool:
        layer = nn.Conv2d(x.shape[1], x.shape[1], side, bias=False, **{"padding": 1, **geometry})
        with autocast(CPU, amp):
            return "_Winograd" in type(layer(x).grad_fn).__name__

    x, narrow = last(1, 512, 32, 32), last(1, 256, 32, 32)
    assert is_fast(x) and is_fast(x, "bf16") and is_fast(x, padding=4, dilation=4) and is_fast(narrow)
    assert not is_fast(narrow, "bf16")
    assert not is_fast(x.contiguous())  # the plain layout
    assert not is_fast(x[:, :, :8])  # too few tiles
    for geometry in ({"padding": 0}, {"stride": 2}, {"dilation": 2}, {"groups": 2}, {"side": 1, "padding": 0}):
        assert not is_fast(x, **geometry)


def test_bfloat16_is_about_as_exact_as_the_plain_convolution():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(512, 512, 3, padding=2, dilation=2).to(memory_format=torch.channels_last), last(1, 512, 32, 32)
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            plain = layer(x)
        with autocast(CPU, "bf16"):
            fast = layer(x)
    assert fast.dtype == torch.bfloat16 and fast.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(fast, plain)
    assert (fast - exact).norm() < 3 * (plain - exact).norm() < 0.02 * exact.norm()


def test_changed_weights_are_transformed_again(small):
    layer, x = nn.Conv2d(4, 4, 3, padding=1, bias=False), last(1, 4, 8, 8)
    with torch.no_grad(), autocast(CPU, "off"):
        before = layer(x)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(x), 2 * before)
        layer.load_state_dict({"weight": layer.weight * 0})
        assert not layer(x).any()
