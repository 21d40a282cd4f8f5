"""Any timm model with spatial features as the backbone of a CAM network."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import attention_names, build_attention
from models.cam_head import CamNet, Features
from models.errors import ModelOptionError
from models.timm_features import (
    SUGGESTION,
    MapForm,
    TimmModel,
    check_stride,
    create_timm,
    cropped,
    entries_of,
    form_of,
    layer_depths,
    measure,
    padded,
    stage_indices,
    timm_stage_modules,
    tokens_of,
)
from models.weights import fit, tensors_in, without_step_counts

EMBEDDING = (64, 128)  # channels that the PCM projects conv4 and conv5 to, as in ResNet-38
LAST_STAGE = 7
STRIDE = 8  # of convolutional models


def taps_of(
    entries: Sequence[tuple[str, int]], form: MapForm, name: str, modules: Collection[str]
) -> dict[int, tuple[str, int]]:
    """Map stage -> (module name, channels) of the map that ends it: the last one stage 7, the one before it 6, …"""
    if len(entries) < 3 or any(module not in modules for module, _ in entries):
        raise ModelOptionError("backbone", f"timm:{name}", f"it has fewer than three named feature maps; {SUGGESTION}")
    ends = stage_indices(len(entries), form)
    return {LAST_STAGE - i: entries[index] for i, index in enumerate(reversed(ends))}


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
        output_stride: int | None = None,
        pretrained: bool = False,
    ) -> None:
        """output_stride: None is 8, or a transformer's own: its patch size, or that of its last stage."""
        super().__init__()
        self.backbone_name = f"timm:{name}"
        self.backbone = create_timm(
            name, output_stride=output_stride or STRIDE, pretrained=pretrained, num_classes=0, global_pool=""
        )
        config = self.backbone.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self._form = form_of(self.backbone)
        self._entries = entries_of(self.backbone)
        self._taps = taps_of(self._entries, self._form, name, dict(self.backbone.named_modules()).keys())
        self._size: tuple[int, ...] = ()  # of the images that the model is run on
        self._tapped: dict[int, Tensor] = {}
        for stage, (module, _) in self._taps.items():
            # unlike a closure, a partial of a method is rebound when the network is deep-copied
            self.backbone.get_submodule(module).register_forward_hook(partial(self._tap, stage))
        self._multiple = self._form.patch
        expected = [channels for _, (_, channels) in sorted(self._taps.items())]
        layout = measure(
            self.backbone,
            self._maps,
            name=self.backbone_name,
            channels=[*expected, None],
            multiple=self._multiple,
        )
        check_stride(name, output_stride, layout.stride)
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
        if not isinstance(x, Tensor):
            kind = type(x).__name__
            raise ModelOptionError("backbone", self.backbone_name, f"its stages return a {kind} of maps; {SUGGESTION}")
        found = self._form.to_map(x, self._size)
        # the probe during construction runs before any exist
        name = getattr(self, "_attention", {}).get(stage)
        changed = found
        if name is not None:
            # ResNet-38 has a shortcut beside its attention. Without one, a gate that starts at 0.5 would halve the
            # activations that the pretrained, frozen batch norms after it expect.
            changed = (found + self.get_submodule(name)(found)) / 2
        changed = self._suppress(stage, changed)
        self._tapped[stage] = changed
        return x if changed is found else self._form.from_map(changed, x)

    def _run(self, image: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Return the maps of all stages and the final map of images (N, 3, H, W)."""
        whole = padded(image, self._multiple)
        self._tapped.clear()
        self._size = tuple(whole.shape[2:])
        if self._form.kind == "maps":
            final = self.backbone(whole)
        else:  # without what a head makes of class tokens
            final = self._form.to_map(self.backbone.forward_features(whole), self._size)
        tapped = {stage: cropped(x, whole, image) for stage, x in self._tapped.items()}
        self._tapped.clear()  # so that no autograd graph outlives the step
        return tapped, cropped(final, whole, image)

    def _maps(self, image: Tensor) -> list[Tensor]:
        tapped, final = self._run(image)
        return [*(x for _, x in sorted(tapped.items())), final]

    def features(self, image: Tensor) -> Features:
        """Return conv4 and conv5, the outputs of stages 5 and 6, and conv6, the final map."""
        tapped, final = self._run(image)
        final = self.final_norm(final)
        if self._form.kind == "maps":
            # some models end in a sum or another activation; after a ReLU, another one changes nothing
            final = F.relu(final)
        return Features(tapped[5], tapped[6], final)

    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return every layer up to the `stages`-th feature map: the stem's, or a transformer's first block, is 1."""
        return timm_stage_modules(self.backbone, self._form, stages, self.backbone_name)

    def loose_parameters(self) -> list[nn.Parameter]:
        """Return a transformer's tokens and position embeddings."""
        return tokens_of(self.backbone, self._form)

    def parameter_depths(self) -> dict[str, int]:
        depths = layer_depths(self.backbone, self.backbone_name)
        return {f"backbone.{name}": depth for name, depth in depths.items()}

    def backbone_state(self) -> dict[str, Tensor]:
        return self.backbone.state_dict()

    def load_backbone(self, state: Mapping[str, Any]) -> None:
        """Load weights by timm's names with any prefix. Weights of libraries with other names are matched by order."""
        given = tensors_in(state, network=self.backbone_name)
        own = without_step_counts(self.backbone_state())
        found = fit(own, given, network=self.backbone_name, by_order=True)
        self.backbone.load_state_dict(found, strict=False)
