"""DeepLab v2 on ResNet-101 as published, with names, strides and pooling of the Caffe model and its PyTorch port."""

import re
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet101_Weights

from deeplabv2.input_format import CAFFE, IMAGENET
from deeplabv2.models.aspp import ASPP
from deeplabv2.models.segmenter import SingleScale
from models.errors import ModelOptionError
from models.freezing import check_stages

PUBLISHED_BLOCKS = (3, 4, 23, 3)
# stride and dilation of layers 2 to 5
LAYOUTS = {8: ((1, 1), (2, 1), (1, 2), (1, 4)), 16: ((1, 1), (2, 1), (2, 1), (1, 2))}
# torchvision's (and timm's) names of a bottleneck's layers
PARTS = {
    "conv1": "reduce.conv", "bn1": "reduce.bn", "conv2": "conv3x3.conv", "bn2": "conv3x3.bn",
    "conv3": "increase.conv", "bn3": "increase.bn", "downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn",
}  # fmt: skip
FOREIGN_NAME = re.compile(rf"layer([1-4])\.(\d+)\.({'|'.join(map(re.escape, PARTS))})\.(\w+)")


def scaled(channels: int, width: float) -> int:
    """Return `channels` * `width`, rounded to a multiple of 4, at least 8."""
    return max(8, 4 * round(channels * width / 4))


class ConvNorm(nn.Module):
    """Convolution, batch norm, and by default ReLU."""

    def __init__(
        self, channels: int, out: int, size: int, *, stride: int = 1, dilation: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(channels, out, size, stride, padding=padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.relu = relu
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Bottleneck(nn.Module):
    """1x1, dilated 3x3, 1x1, and a shortcut. The stride is in the first convolution, as in the Caffe model."""

    def __init__(self, channels: int, out: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        middle = out // 4
        self.reduce = ConvNorm(channels, middle, 1, stride=stride)
        self.conv3x3 = ConvNorm(middle, middle, 3, dilation=dilation)
        self.increase = ConvNorm(middle, out, 1, relu=False)
        self.shortcut = ConvNorm(channels, out, 1, stride=stride, relu=False) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.increase(self.conv3x3(self.reduce(x))) + self.shortcut(x), inplace=True)


class Stem(nn.Module):
    """7x7 convolution and pooling, which rounds sizes up. (N, 3, H, W) -> (N, C, H / 4, W / 4)."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, out, 7, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv1(x), 3, 2, padding=1, ceil_mode=True)


class DeepLabV2ResNet101(SingleScale):
    """DeepLab v2 at one scale. Chen et al., TPAMI 2017."""

    name = "DeepLabV2_ResNet101"
    normalisation = CAFFE
    head_prefixes = ("aspp.",)
    # added by name
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    layer5: nn.Sequential

    def __init__(
        self,
        num_labels: int,
        *,
        output_stride: int = 8,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
        n_blocks: Sequence[int] = PUBLISHED_BLOCKS,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if output_stride not in LAYOUTS:
            raise ModelOptionError(
                "output_stride", output_stride, f"{self.name} supports {' or '.join(map(str, LAYOUTS))}"
            )
        if len(n_blocks) != 4 or min(n_blocks) < 1:
            raise ModelOptionError("n_blocks", n_blocks, "expected four counts of at least 1, for layers 2 to 5")
        self.num_labels, self.output_stride = num_labels, output_stride
        channels = scaled(64, width)
        self.layer1 = Stem(channels)
        for i, (count, (stride, dilation)) in enumerate(zip(n_blocks, LAYOUTS[output_stride])):
            out = scaled(256 * 2**i, width)
            layer = nn.Sequential()
            for k in range(count):
                first = k == 0
                block = Bottleneck(
                    channels if first else out, out, stride=stride if first else 1, dilation=dilation, project=first
                )
                layer.add_module(f"block{k + 1}", block)
            self.add_module(f"layer{i + 2}", layer)
            channels = out
        self.aspp = ASPP(channels, num_labels, rates=atrous_rates)

    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return layer1 for 1, layer1 and layer2 for 2, and so on up to 5."""
        check_stages(stages, 5, self.name)
        return [self.get_submodule(f"layer{stage}") for stage in range(1, stages + 1)]

    def logits(self, images: Tensor) -> Tensor:
        x = self.layer1(images)
        return self.aspp(self.layer5(self.layer4(self.layer3(self.layer2(x)))))

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of torchvision's and timm's ResNet-101, which only differs in where the stride is."""
        result = {}
        for name, tensor in state.items():
            stem = re.fullmatch(r"(conv|bn)1\.(\w+)", name)
            if stem:
                result[f"layer1.conv1.{stem[1]}.{stem[2]}"] = tensor
            elif match := FOREIGN_NAME.fullmatch(name):
                layer, block, part, leaf = match.groups()
                result[f"layer{int(layer) + 1}.block{int(block) + 1}.{PARTS[part]}.{leaf}"] = tensor
        return result | _for_caffe_input(result) if result else result

    def imagenet_state(self) -> dict[str, Tensor]:
        return ResNet101_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)

    def initial_files(self) -> str:
        return (
            "deeplabv1_resnet101-coco.pth, deeplabv1_resnet101-imagenet.pth, torchvision's resnet101 (.pth), "
            "or a checkpoint of the same network"
        )


def _for_caffe_input(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the stem's weights from torchvision's input format (RGB, scaled) to Caffe's.

    The difference of the means is absorbed by the batch norm, which is exact except where the convolution overlaps the
    border.
    """
    weight_name, mean_name = "layer1.conv1.conv.weight", "layer1.conv1.bn.running_mean"
    if weight_name not in state or mean_name not in state:
        return {}
    weight, running_mean = state[weight_name], state[mean_name]
    std = weight.new_tensor(IMAGENET.std).view(3, 1, 1)
    # (rgb / 255 - mean) / std = (caffe + offset) / (255 std), channel by channel
    offset = weight.new_tensor([c - 255 * i for c, i in zip(CAFFE.fill, IMAGENET.mean)]).view(3, 1, 1)
    weight = weight / (255 * std)
    shift = (weight * offset).sum((1, 2, 3))
    return {weight_name: weight.flip(1), mean_name: running_mean - shift}
