import pytest
import torch
from torch import Tensor, nn

from utils.runtime import depthwise
from utils.runtime.depthwise import sub_grids, whole_grid
from utils.runtime.device import autocast, precision
from utils.runtime.fast_convolutions import FastConvolutions

GEOMETRIES = [
    *[(3, 1, 1, 1), (5, 2, 2, 1), (3, 2, 0, 1), (5, 1, 4, 2), (3, 1, 3, 3), (3, 1, 1, 2), (3, 2, 2, 2)],
    *[(1, 1, 0, 1), (4, 1, 1, 1), (5, 1, 0, 1), (7, 1, 3, 1), (7, 2, 3, 1), (5, 2, 3, 2), (3, 1, 4, 1), (7, 1, 9, 3)],
]
CPU = torch.device("cpu")


def gradients(layer: nn.Conv2d, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    (y.float() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    assert x.grad is not None
    return [y.detach().float(), x.grad.float(), *(p.grad.float() for p in layer.parameters())]


@pytest.mark.parametrize(("side", "stride", "padding", "dilation"), GEOMETRIES)
def test_values_and_gradients_are_those_of_the_plain_convolution(side, stride, padding, dilation):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, side, stride=stride, padding=padding, dilation=dilation, groups=8)
    x = torch.randn(2, 8, 13, 17).to(memory_format=torch.channels_last)
    exact = gradients(layer, x)
    with torch.autocast("cpu", torch.bfloat16), FastConvolutions():
        fast = gradients(layer, x)
    for ours, expected in zip(fast, exact, strict=True):
        assert ours.shape == expected.shape
        assert (ours - expected).norm() <= 0.01 * expected.norm()


@pytest.mark.parametrize(("side", "stride", "padding", "dilation"), GEOMETRIES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_float32_stays_exact(side, stride, padding, dilation, layout):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, side, stride=stride, padding=padding, dilation=dilation, groups=8)
    x = torch.randn(2, 8, 13, 17).to(memory_format=layout)
    exact = gradients(layer, x)
    with autocast(CPU, "off"):
        fast = gradients(layer, x)
    for ours, expected in zip(fast, exact, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize(("side", "dilation"), [(5, 2), (3, 4), (7, 1)])
def test_maps_smaller_than_the_weights_are_padded_for_the_fast_kernel(side, dilation, amp, monkeypatch):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, side, padding=dilation * (side // 2), dilation=dilation, groups=8)
    x = torch.randn(2, 8, 6, 7).to(memory_format=torch.channels_last)
    exact = gradients(layer, x)
    rows = []

    def record(operands, *more, compute=depthwise._gradients):
        rows.append(operands[1].shape[2])
        return compute(operands, *more)

    monkeypatch.setattr(depthwise, "_gradients", record)
    with autocast(CPU, amp):
        fast = gradients(layer, x)
    assert min(rows) >= side
    for ours, expected in zip(fast, exact, strict=True):
        assert (ours - expected).norm() <= (0.01 if amp == "bf16" else 1e-5) * expected.norm()


def test_in_float32_wide_ones_and_dilated_ones_that_keep_the_size_are_exchanged():
    x = torch.randn(1, 8, 9, 9)

    def is_exchanged(side=3, x=x, **more):
        return "_Depthwise" in type(nn.Conv2d(8, 8, side, bias=False, groups=8, **more)(x).grad_fn).__name__

    with autocast(CPU, "off"):
        assert is_exchanged(padding=2, dilation=2)
        assert not is_exchanged(padding=1) and not is_exchanged(dilation=2)
        assert is_exchanged(5, x.to(memory_format=torch.channels_last)) and not is_exchanged(5)
        with torch.no_grad():
            assert not is_exchanged(padding=2, dilation=2)


def test_only_depthwise_convolutions_of_bfloat16_are_exchanged():
    x = torch.randn(1, 8, 9, 9)
    for layer in (nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 8, 1)):
        with torch.autocast("cpu", torch.bfloat16), FastConvolutions():
            assert "_Depthwise" not in type(layer(x).grad_fn).__name__
    depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
    with FastConvolutions():
        assert "_Depthwise" not in type(depthwise(x).grad_fn).__name__
    with autocast(CPU, "bf16"):
        assert "_Depthwise" in type(depthwise(x).grad_fn).__name__


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (1, 2)])
def test_sub_grids_are_put_together_again(size):
    x = torch.randn(2, 3, *size)
    assert torch.equal(whole_grid(sub_grids(x, 2), 2, size), x)


def test_auto_precision_follows_the_processor(monkeypatch):
    assert [precision(amp, CPU) for amp in ("off", "bf16", "fp16")] == ["off", "bf16", "fp16"]
    for has, expected in ((True, "bf16"), (False, "off")):
        monkeypatch.setattr("utils.runtime.device._computes_bfloat16", lambda device, has=has: has)
        assert precision("auto", CPU) == expected
