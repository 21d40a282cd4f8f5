"""Any convolutional timm model as the backbone of a CAM network."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import attention_names, build_attention
from models.cam_head import CamNet, Features
from models.errors import ModelOptionError
from models.timm_features import SUGGESTION, TimmModel, create_timm, cropped, measure, padded
from models.weights import fit, tensors_in, without_step_counts

EMBEDDING = (64, 128)  # channels that the PCM projects conv4 and conv5 to, as in ResNet-38
LAST_STAGE = 7


def taps_of(model: nn.Module, name: str) -> dict[int, tuple[str, int]]:
    """Map stage -> (module name, channels). The last feature map is stage 7, the one before it 6, and so on."""
    info = getattr(model, "feature_info", None) or []
    entries = [(entry["module"], entry["num_chs"]) for entry in getattr(info, "info", info)]
    modules = dict(model.named_modules())
    if len(entries) < 3 or any(module not in modules for module, _ in entries):
        raise ModelOptionError("backbone", f"timm:{name}", f"it has fewer than three named feature maps; {SUGGESTION}")
    return {LAST_STAGE - i: entry for i, entry in enumerate(reversed(entries))}


class TimmCam(CamNet):
    """CAM network on a timm model: attention after stages 6 and 7, suppression after any stage."""

    backbone: TimmModel

    def __init__(
        self,
        name: str,
        num_classes: int,
        *,
        attention: str = "none",
        suppression: str = "none",
        suppression_stages: Sequence[int] = (6, 7),
        output_stride: int = 8,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.backbone_name = f"timm:{name}"
        self.backbone = create_timm(
            name, output_stride=output_stride, pretrained=pretrained, num_classes=0, global_pool=""
        )
        config = self.backbone.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self._taps = taps_of(self.backbone, name)
        self._tapped: dict[int, Tensor] = {}
        for stage, (module, _) in self._taps.items():
            # unlike a closure, a partial of a method is rebound when the network is deep-copied
            self.backbone.get_submodule(module).register_forward_hook(partial(self._tap, stage))
        self._multiple = 1
        expected = [channels for _, (_, channels) in sorted(self._taps.items())]
        layout = measure(self.backbone, self._maps, name=self.backbone_name, channels=[*expected, None])
        self.output_stride, self._multiple = layout.stride, layout.multiple
        self._attention: dict[int, str] = {}
        for stage in (6, 7) if attention_names(attention) else ():
            self._attention[stage] = f"attention{stage}"
            self.add_module(self._attention[stage], build_attention(attention, self._taps[stage][1]))
        channels = {stage: entry[1] for stage, entry in sorted(self._taps.items())}
        self._add_suppression(suppression, suppression_stages, channels)
        # a truncated model may end in a sum of any magnitude, but the head expects the output of a batch norm
        self.final_norm = nn.BatchNorm2d(layout.channels) if "@" in name else nn.Identity()
        self._build_head((channels[5], channels[6], layout.channels), EMBEDDING, num_classes)

    def _tap(self, stage: int, module: nn.Module, inputs: Any, x: Tensor) -> Tensor:
        """Forward hook: apply the stage's attention and suppression; the model continues with the result."""
        # the probe during construction runs before any exist
        name = getattr(self, "_attention", {}).get(stage)
        if name is not None:
            # ResNet-38 has a shortcut beside its attention. Without one, a gate that starts at 0.5 would halve the
            # activations that the pretrained, frozen batch norms after it expect.
            x = (x + self.get_submodule(name)(x)) / 2
        x = self._suppress(stage, x)
        self._tapped[stage] = x
        return x

    def _run(self, image: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Return the maps of all stages and the final map of images (N, 3, H, W)."""
        whole = padded(image, self._multiple)
        self._tapped.clear()
        final = self.backbone(whole)
        tapped = {stage: cropped(x, whole, image) for stage, x in self._tapped.items()}
        self._tapped.clear()  # so that no autograd graph outlives the step
        return tapped, cropped(final, whole, image)

    def _maps(self, image: Tensor) -> list[Tensor]:
        tapped, final = self._run(image)
        return [*(x for _, x in sorted(tapped.items())), final]

    def features(self, image: Tensor) -> Features:
        """Return conv4 and conv5, the outputs of stages 5 and 6, and conv6, the final map."""
        tapped, final = self._run(image)
        # some models end in a sum or another activation; after a ReLU, another one changes nothing
        return Features(tapped[5], tapped[6], F.relu(self.final_norm(final)))

    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return every layer up to the `stages`-th feature map (1: the stem's, or the first one)."""
        if not 0 <= stages <= len(self._taps):
            raise ModelOptionError(
                "frozen_stages", stages, f"expected 0 (none) to {len(self._taps)}, the stages of {self.backbone_name}"
            )
        if stages == 0:
            return []
        last = self._taps[min(self._taps) + stages - 1][0]
        names = [name for name, _ in self.backbone.named_modules()]
        end = 1 + max(i for i, name in enumerate(names) if name == last or name.startswith(f"{last}."))
        # layers are registered in execution order; skip parents that also contain later layers
        parents = {name[:i] for name in names[end:] for i, letter in enumerate(name) if letter == "."} | {""}
        return [self.backbone.get_submodule(name) for name in names[:end] if name not in parents]

    def backbone_state(self) -> dict[str, Tensor]:
        return self.backbone.state_dict()

    def load_backbone(self, state: Mapping[str, Any]) -> None:
        """Load weights by timm's names with any prefix. Weights of libraries with other names are matched by order."""
        given = tensors_in(state, network=self.backbone_name)
        own = without_step_counts(self.backbone_state())
        found = fit(own, given, network=self.backbone_name, by_order=True)
        self.backbone.load_state_dict(found, strict=False)
