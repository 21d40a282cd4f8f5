"""The head of DeepLab v2: atrous spatial pyramid pooling."""

from collections.abc import Sequence

from torch import Tensor, nn

from models.errors import ModelOptionError


class ASPP(nn.Module):
    """Sum of 3x3 convolutions with several dilations. (N, C, h, w) -> (N, L, h, w). DeepLab v2, sec. 3.2."""

    def __init__(self, channels: int, num_labels: int, *, rates: Sequence[int]) -> None:
        super().__init__()
        if not rates or min(rates) < 1:
            raise ModelOptionError("atrous_rates", rates, "expected one or more dilations of at least 1")
        for i, rate in enumerate(rates):
            branch = nn.Conv2d(channels, num_labels, 3, padding=rate, dilation=rate)
            nn.init.normal_(branch.weight, std=0.01)
            if branch.bias is not None:
                nn.init.zeros_(branch.bias)
            self.add_module(f"c{i}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.children())
