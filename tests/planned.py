"""Tasks without data, for tests of the plan."""

import operator
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor, nn

from deeplabv2 import train as segmentation
from deeplabv2.inference import make_network
from deeplabv2.inputs import LabelledSplit
from deeplabv2.settings import Settings
from scripts import train
from scripts.classifier_task import ClassifierTask
from utils.config.options import TrainOptions
from utils.data.dataset import Dataset
from utils.training.loading import Batch
from utils.training.measure import without_values
from utils.training.task import Losses, Task


def classifier_task(options: TrainOptions, *, classes: int = 20, values: bool = False) -> ClassifierTask:
    """L2G without images; its network has initial values where `values` says so."""
    data = Dataset(Path("none"), "none", ("",) * classes, "none")
    if values:
        torch.manual_seed(0)
        model = train.build_model(options, classes, fresh=False)
    else:
        with without_values():
            model = train.build_model(options, classes, fresh=False)
    sal_dir = None if options.sal_dir == "none" else data.sal_dir
    samples = train.make_samples(options, data, train.Inputs([], data.image_dir, sal_dir, None), model)
    return ClassifierTask(model, samples, lr=options.lr, new_lr_factor=options.new_lr_factor)


def segmentation_task(settings: Settings, *, labels: int = 21, values: bool = False) -> segmentation.SegmentationTask:
    """A segmentation network without images; it has initial values where `values` says so."""
    if values:
        torch.manual_seed(0)
        network = make_network(settings.MODEL, labels)
    else:
        with without_values():
            network = make_network(settings.MODEL, labels)
    samples = segmentation.make_samples(settings, LabelledSplit(Path(), [], {}, Path()), network)
    return segmentation.SegmentationTask(network, samples, settings.SOLVER)


def losses_of(task: Task, network: nn.Module, batch: Batch) -> Losses:
    """The losses and values of all parts of a batch, with one graph."""
    parts, batch = [], dict(batch)
    for part in task.parts:
        parts.append(task.losses(network, batch, part))
        batch |= parts[-1].passed
    losses: dict[str, Tensor] = {}
    for part in parts:  # several passes of the local network have losses of one name
        losses |= {name: losses.get(name, 0.0) + value for name, value in part.losses.items()}
    return Losses(losses, *(reduce(operator.or_, map(dict, named)) for named in list(zip(*parts))[1:]))


def filled(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An example batch with values: images of noise, all tags, patches in the corner."""
    generator = torch.Generator().manual_seed(0)
    result = {name: torch.rand(value.shape, generator=generator) for name, value in batch.items()}
    if "boxes" in batch:
        side = batch["images"].shape[-1] * 3 // 4
        result["boxes"] = torch.tensor([0, 0, side, side]).expand(batch["boxes"].shape).contiguous()
        result["tags"] = torch.ones_like(batch["tags"])
    if "labels" in batch:
        result["labels"] = torch.randint(0, 3, batch["labels"].shape, generator=generator)
    return result
