"""Wide ResNet-38 with pre-activation blocks, output stride 8. Wu et al., arXiv 1611.10080 (model A1).

ReLUs and sums are in place wherever the preceding operation does not need its output for the gradient. On large maps
memory traffic takes longer than the arithmetic.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import add_attention, attend
from models.cam_head import CamNet, Features
from models.freezing import check_stages
from models.weights import fit, tensors_in, without_step_counts

# stage: (blocks, channels between the two convolutions, output channels)
STAGES = {2: (3, 128, 128), 3: (3, 256, 256), 4: (6, 512, 512), 5: (3, 512, 1024)}


def scaled(channels: int, width: float) -> int:
    """Return `channels` * `width`, rounded to an even number, at least 4."""
    return max(4, 2 * round(channels * width / 2))


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU. (N, C, H, W) -> (N, C', H / stride, W / stride)."""

    def __init__(
        self, channels: int, middle: int, out: int, *, stride: int = 1, first_dilation: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(channels)
        self.conv_branch2a = nn.Conv2d(
            channels, middle, 3, stride, padding=first_dilation, dilation=first_dilation, bias=False
        )
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = nn.Conv2d(middle, out, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv_branch1 = None
        if channels != out or stride != 1:
            self.conv_branch1 = nn.Conv2d(channels, out, 1, stride, bias=False)

    def activate(self, x: Tensor) -> Tensor:
        """Return the input of the block's convolutions: batch norm and ReLU of x."""
        return F.relu(self.bn_branch2a(x), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        active = self.activate(x)
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(active)
        branch = F.relu(self.bn_branch2b1(self.conv_branch2a(active)), inplace=True)
        return self.conv_branch2b1(branch).add_(shortcut)


class Bottleneck(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolution, then attention, then the shortcut. (N, C, h, w) -> (N, C', h, w)."""

    def __init__(self, channels: int, middles: tuple[int, int], out: int, *, dropout: float, attention: str) -> None:
        super().__init__()
        first, second = middles
        self.attention = add_attention(self, attention, out)
        self.bn_branch2a = nn.BatchNorm2d(channels)
        self.conv_branch2a = nn.Conv2d(channels, first, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(first)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(first, second, 3, padding=4, dilation=4, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(second)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(second, out, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(channels, out, 1, bias=False)

    def activate(self, x: Tensor) -> Tensor:
        """Return the input of the block's convolutions: batch norm and ReLU of x."""
        return F.relu(self.bn_branch2a(x), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.after_activation(self.activate(x))

    def after_activation(self, active: Tensor) -> Tensor:
        """Compute the block's output from the result of `activate`."""
        branch = self.conv_branch2a(active)
        branch = self.conv_branch2b1(self.dropout_2b1(F.relu(self.bn_branch2b1(branch), inplace=True)))
        branch = self.conv_branch2b2(self.dropout_2b2(F.relu(self.bn_branch2b2(branch), inplace=True)))
        return self.conv_branch1(active).add_(attend(self, self.attention, branch))


class ResNet38Cam(CamNet):
    """CAM network on ResNet-38: attention in stages 6 and 7, suppression after any of stages 2..7."""

    backbone_name = "resnet38"
    output_stride = 8
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    b5: Block  # added by name, like the blocks of the other stages

    def __init__(
        self,
        num_classes: int,
        *,
        attention: str = "none",
        suppression: str = "none",
        suppression_stages: Sequence[int] = (6, 7),
        width: float = 1.0,
        dropout: tuple[float, float] = (0.3, 0.5),
    ) -> None:
        super().__init__()

        def w(channels: int) -> int:
            return scaled(channels, width)

        self.conv1a = nn.Conv2d(3, w(64), 3, padding=1, bias=False)
        self._stages: dict[int, list[str]] = {1: ["conv1a"]}
        channels = w(64)
        for stage, (blocks, middle, out) in STAGES.items():
            self._add_stage(stage, blocks, (channels, w(middle), w(out)))
            channels = w(out)
        self.b6 = Bottleneck(w(1024), (w(512), w(1024)), w(2048), dropout=dropout[0], attention=attention)
        self.b7 = Bottleneck(w(2048), (w(1024), w(2048)), w(4096), dropout=dropout[1], attention=attention)
        self.bn7 = nn.BatchNorm2d(w(4096))
        self._stages |= {6: ["b6"], 7: ["b7"]}
        stage_channels = {stage: w(out) for stage, (_, _, out) in STAGES.items()} | {6: w(2048), 7: w(4096)}
        self._add_suppression(suppression, suppression_stages, stage_channels)
        self._build_head((w(512), w(1024), w(4096)), (w(64), w(128)), num_classes)

    def _add_stage(self, stage: int, blocks: int, channels: tuple[int, int, int]) -> None:
        """Add the blocks of a stage (b2, b2_1, ...). channels: input, between the convolutions, output."""
        start, middle, out = channels
        self._stages[stage] = [f"b{stage}" if i == 0 else f"b{stage}_{i}" for i in range(blocks)]
        # stages 2..4 halve the map; stage 5 keeps stride 8 and is dilated instead
        stride, dilation = (2, 1) if stage < 5 else (1, 2)
        for i, name in enumerate(self._stages[stage]):
            if i == 0:
                block = Block(start, middle, out, stride=stride, dilation=dilation)
            else:
                block = Block(out, middle, out, first_dilation=dilation, dilation=dilation)
            self.add_module(name, block)

    def features(self, image: Tensor) -> Features:
        """Return conv4 and conv5, the activated inputs of b5 and b6, and conv6 = relu(bn7(b7))."""
        x = self.conv1a(image)
        for stage in (2, 3, 4):
            x = self._stage(stage, x)
        conv4 = self.b5.activate(x)
        x = self._stage(5, x)
        conv5 = self.b6.activate(x)
        x = self._suppress(6, self.b6.after_activation(conv5))
        x = self._suppress(7, self.b7(x))
        return Features(conv4, conv5, F.relu(self.bn7(x), inplace=True))

    def _stage(self, stage: int, x: Tensor) -> Tensor:
        for name in self._stages[stage]:
            x = self.get_submodule(name)(x)
        return self._suppress(stage, x)

    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return conv1a for 1, conv1a and b2* for 2, and so on up to 7."""
        check_stages(stages, max(self._stages), "resnet38")
        return [self.get_submodule(name) for stage in range(1, stages + 1) for name in self._stages[stage]]

    def parameter_depths(self) -> dict[str, int]:
        stage_of = {name: stage for stage, names in self._stages.items() for name in names}
        last = max(self._stages)
        names = [name for name, kind in self.parameter_kinds().items() if kind == "pretrained"]
        return {name: last - stage_of.get(name.partition(".")[0], last) for name in names}

    def backbone_state(self) -> dict[str, Tensor]:
        new = self.new_prefixes()
        return {n: t for n, t in self.state_dict().items() if not n.startswith(new)}

    def load_backbone(self, state: Mapping[str, Any]) -> None:
        """Load weights by name from a converted ImageNet file or a checkpoint; the new layers are skipped."""
        found = fit(
            without_step_counts(self.backbone_state()),
            tensors_in(state, network=self.backbone_name),
            network=self.backbone_name,
            explain=lambda misfit: "expected the ImageNet weights of ResNet-38 (model A1), for width 1",
        )
        self.load_state_dict(found, strict=False)
