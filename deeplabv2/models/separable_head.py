"""A head for small datasets: dilated separable branches with batch norms, combined with a finer map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import ModelOptionError

WIDTH = 128  # channels of every branch
SKIP_WIDTH = 32  # channels that the finer map is reduced to
DROPOUT = 0.1


class SeparableHead(nn.Module):
    """Maps (N, C, h, w) and (N, F, 2 h, 2 w) -> logits (N, L, 2 h, 2 w), with a quarter of a million weights.

    The design is that of DeepLab v3+ (Chen et al., ECCV 2018). The decoder of segmentation-models-pytorch is less
    suitable for a few hundred photographs on a CPU: it combines maps at stride 4 (four times the pixels), has a batch
    norm over a single pooled value per image, and uses the backbone's full width in every branch.
    """

    def __init__(self, channels: int, skip_channels: int, num_labels: int, *, rates: Sequence[int]) -> None:
        super().__init__()
        if not rates or min(rates) < 1:
            raise ModelOptionError("atrous_rates", rates, "expected one or more dilations of at least 1")
        self.reduce = conv_norm(channels, WIDTH)
        self.branches = nn.ModuleList(separable(WIDTH, WIDTH, dilation=rate) for rate in rates)
        # no batch norm: one value per image is too few for statistics
        self.pooled = nn.Linear(channels, WIDTH)
        self.project = conv_norm((2 + len(rates)) * WIDTH, WIDTH)
        self.skip = conv_norm(skip_channels, SKIP_WIDTH)
        self.fuse = separable(WIDTH + SKIP_WIDTH, WIDTH)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classify = nn.Conv2d(WIDTH, num_labels, 1)

    def forward(self, last: Tensor, skip: Tensor) -> Tensor:
        reduced = self.reduce(last)
        pooled = F.relu(self.pooled(last.mean(dim=(2, 3))))[:, :, None, None].expand_as(reduced)
        joined = torch.cat([reduced, *(branch(reduced) for branch in self.branches), pooled], dim=1)
        context = self.dropout(self.project(joined))
        context = F.interpolate(context, size=skip.shape[2:], mode="bilinear", align_corners=False)
        return self.classify(self.dropout(self.fuse(torch.cat([context, self.skip(skip)], dim=1))))


def conv_norm(channels: int, out: int) -> nn.Sequential:
    """Build a 1x1 convolution with batch norm and ReLU."""
    return nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def separable(channels: int, out: int, *, dilation: int = 1) -> nn.Sequential:
    """Build a depthwise 3x3 convolution with batch norm, then a 1x1 convolution with batch norm and ReLU."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), *conv_norm(channels, out))
