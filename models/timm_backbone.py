"""Any convolutional timm model as the backbone of a CAM network."""

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import attention_names, build_attention
from models.cam_head import CamNet, Features, some, strip_prefix

EMBEDDING = (64, 128)  # channels that the PCM makes of conv4 and conv5, as with ResNet-38
LAST_STAGE = 7
PROBE_SIZE = 64  # pixels a side; every stride that timm offers divides it
SUGGESTION = "choose a convolutional model that can be dilated, such as tf_efficientnet_lite0 or resnet50"


def create_backbone(name: str, *, output_stride: int, pretrained: bool) -> nn.Module:
    """The timm model without pooling and classifier. ValueError for unknown names and impossible strides."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise ValueError(f"timm has no model {name!r}: {hint}")
    # 32 is every model's own stride, and many take no such argument
    stride = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="", **stride)
    except (TypeError, NotImplementedError, AssertionError, ValueError) as error:
        if isinstance(error, OSError):  # a failed download, some of which are ValueErrors too
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"timm:{name} cannot be built with output_stride {output_stride} ({reason}); {SUGGESTION}, "
            "or output_stride 32"
        ) from error


def taps_of(model: nn.Module, name: str) -> dict[int, tuple[str, int]]:
    """Stage -> (module name, channels): the last feature map is stage 7, the one before it 6, and so on."""
    info = getattr(model, "feature_info", None) or []
    entries = [(entry["module"], entry["num_chs"]) for entry in getattr(info, "info", info)]
    modules = dict(model.named_modules())
    if len(entries) < 3 or any(module not in modules for module, _ in entries):
        raise ValueError(f"timm:{name} does not name three or more feature maps; {SUGGESTION}")
    return {LAST_STAGE - i: entry for i, entry in enumerate(reversed(entries))}


class TimmCam(CamNet):
    """CAM network on a timm model: attention after stages 6 and 7, suppression after any stage."""

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
        self.backbone = create_backbone(name, output_stride=output_stride, pretrained=pretrained)
        config = self.backbone.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self._taps = taps_of(self.backbone, name)
        self._tapped: dict[int, Tensor] = {}
        for stage, (module, _) in self._taps.items():
            # a partial of a method, unlike a closure, follows the network into a deep copy
            self.backbone.get_submodule(module).register_forward_hook(partial(self._tap, stage))
        final_channels = self._probe()
        self._attention: dict[int, str] = {}
        for stage in (6, 7) if attention_names(attention) else ():
            self._attention[stage] = f"attention{stage}"
            self.add_module(self._attention[stage], build_attention(attention, self._taps[stage][1]))
        channels = {stage: entry[1] for stage, entry in sorted(self._taps.items())}
        self._add_suppression(suppression, suppression_stages, channels)
        self._build_head((channels[5], channels[6], final_channels), EMBEDDING, num_classes)

    def _tap(self, stage: int, module: nn.Module, inputs: Any, x: Tensor) -> Tensor:
        """Forward hook: attention and suppression of the stage, whose result goes on through the model."""
        # the probe during construction comes before there are any
        name = getattr(self, "_attention", {}).get(stage)
        if name is not None:
            # ResNet-38 has a shortcut beside its attention. Without one, a gate that starts at a half would halve
            # what the pretrained, frozen batch norms behind it were made for.
            x = (x + self.get_submodule(name)(x)) / 2
        x = self._suppress(stage, x)
        self._tapped[stage] = x
        return x

    def _run(self, image: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        self._tapped.clear()
        final = self.backbone(image)
        tapped = dict(self._tapped)
        self._tapped.clear()  # no graph outlives the step
        return tapped, final

    @torch.no_grad()
    def _probe(self) -> int:
        """Measure the stride, check that all maps are (N, C, h, w), and return the final map's channels."""
        training = self.backbone.training
        self.backbone.eval()
        try:
            tapped, final = self._run(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"{self.backbone_name} takes no images of any size ({error}); {SUGGESTION}") from error
        self.backbone.train(training)
        expected = {stage: channels for stage, (_, channels) in self._taps.items()}
        maps_fit = all(x.ndim == 4 and x.shape[1] == expected[s] for s, x in tapped.items())
        if not maps_fit or tapped.keys() != expected.keys() or final.ndim != 4 or final.shape[1] < final.shape[3]:
            raise ValueError(f"{self.backbone_name} has no maps in (N, C, H, W) layout; {SUGGESTION}")
        self.output_stride = PROBE_SIZE // final.shape[-1]
        return final.shape[1]

    def features(self, image: Tensor) -> Features:
        """conv4 and conv5 are the outputs of stages 5 and 6, conv6 is the model's final map."""
        tapped, final = self._run(image)
        # a relu for all: it changes nothing where the model ends in one, and others end in a sum or another activation
        return Features(tapped[5], tapped[6], F.relu(final))

    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Every layer up to the `stages`-th feature map (1: up to the stem's, or the first there is)."""
        if not 0 <= stages <= len(self._taps):
            raise ValueError(
                f"cannot freeze {stages} stages of {self.backbone_name}: give 0 (none) to {len(self._taps)}"
            )
        if stages == 0:
            return []
        last = self._taps[min(self._taps) + stages - 1][0]
        names = [name for name, _ in self.backbone.named_modules()]
        end = 1 + max(i for i, name in enumerate(names) if name == last or name.startswith(f"{last}."))
        # layers register in the order in which they run; a parent of later ones reaches too far
        parents = {name[:i] for name in names[end:] for i, letter in enumerate(name) if letter == "."} | {""}
        return [self.backbone.get_submodule(name) for name in names[:end] if name not in parents]

    def backbone_state(self) -> dict[str, Tensor]:
        return self.backbone.state_dict()

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """Load weights by timm's names, which may stand behind `backbone.` or `module.`; others are left out."""
        given = strip_prefix(state)
        given = {n.removeprefix("backbone."): t for n, t in given.items() if n.startswith("backbone.")} or given
        wanted = {n: t for n, t in self.backbone_state().items() if not n.endswith("num_batches_tracked")}
        missing = [n for n in wanted if n not in given]
        misfit = [n for n in wanted if n in given and given[n].shape != wanted[n].shape]
        if missing or misfit:
            raise ValueError(
                f"these are not the weights of {self.backbone_name}: missing by name {some(missing)}, of another shape "
                f"{some(misfit)}, of {len(wanted)}"
            )
        self.backbone.load_state_dict({n: given[n] for n in wanted}, strict=False)
