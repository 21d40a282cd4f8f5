"""The classifier's task: both networks of L2G, their samples, and their losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from models.cam_net import CamNet
from models.folding import fold_norms
from models.l2g import L2G, L2GOutput
from scripts.networks import load_file
from utils.l2g_samples import L2GDataset
from utils.training.optimiser import parameter_groups
from utils.training.task import Losses

ACTIVE_TAGS = "active_tags"
COLLAPSED = 0.05  # if fewer tags than this fraction are active, the global network's CAMs are background everywhere
COLLAPSE_WARNING = (
    "WARNING: only {share:.1%} of the images' tags are active in the global network: its CAMs are background. "
    "Short schedules need a loss whose gradient does not vanish: --kd_loss=balanced "
    "--background_target=complement --kd_weight=1 --clip_grad=5 (as configs/voc_light.yaml)"
)


class ClassifierTask:
    """L2G as a task of the engine, see utils.training.task.Task."""

    def __init__(
        self, network: L2G, samples: L2GDataset, *, lr: float, new_lr_factor: float, layer_decay: float = 1.0
    ) -> None:
        self.network, self.samples = network, samples
        self.lr, self.new_lr_factor, self.layer_decay = lr, new_lr_factor, layer_decay

    def example(self, count: int) -> dict[str, Tensor]:
        """Return a dummy batch of `count` samples."""
        return self.samples.example(count)

    @property
    def networks(self) -> dict[str, CamNet]:
        """Return the networks by their keys in published checkpoints."""
        both = {"state_dict": self.network.global_net, "local_dict": self.network.local_net}
        return {name: cast(CamNet, network) for name, network in both.items() if network is not None}

    @property
    def parts(self) -> Sequence[str]:
        return self.network.parts

    def losses(self, network: nn.Module, batch: dict[str, Tensor], part: str) -> Losses:
        output: L2GOutput = network(**batch, part=part)
        values = {} if output.active_tags is None else {ACTIVE_TAGS: output.active_tags}
        return Losses(output.losses, values, {} if output.target is None else {"target": output.target})

    def fold_norms(self, network: nn.Module) -> None:
        for part in network.children():
            fold_norms(part)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(
            self.networks.values(), lr=self.lr, new_lr_factor=self.new_lr_factor, layer_decay=self.layer_decay
        )

    def checkpoint(self) -> dict[str, Any]:
        return {name: network.state_dict() for name, network in self.networks.items()}

    def restore(self, state: Mapping[str, Any], *, path: Path) -> None:
        for name, network in self.networks.items():
            load_file(network, path, state, which=name)

    def start_from(self, state: Mapping[str, Any], *, path: Path) -> None:
        """Load both networks from another run's checkpoint. A checkpoint of a single network fills both."""
        for name, network in self.networks.items():
            load_file(network, path, state, which=name if name in state else "state_dict")

    def end_of_interval(self, recent: Mapping[str, float]) -> str | None:
        share = recent[ACTIVE_TAGS]
        return COLLAPSE_WARNING.format(share=share) if share < COLLAPSED else None
