"""Fits the classifier of whole images that weighs the classes of a photo, see deeplabv2.models.tag_evidence."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deeplabv2.inputs import LabelledSplit
from deeplabv2.models.segmenter import Segmenter
from deeplabv2.seen_size import not_too_small, size_of_network
from deeplabv2.settings import Settings
from utils.data.dataset import Dataset
from utils.data.image_list import ImageEntry, read_image_list
from utils.errors import UserError
from utils.l2g_samples import multi_hot
from utils.runtime.device import autocast, move_network
from utils.training.logistic import fit_logistic
from utils.training.pooled_features import pool_features

PENALTY = 0.03
OPTION = "--MODEL.TAG_EVIDENCE"


def tagged_images(settings: Settings, data: Dataset, split: LabelledSplit) -> list[ImageEntry]:
    """Return the training images with known tags; none if the network needs none. Raises UserError if it lacks them."""
    if settings.MODEL.TAG_EVIDENCE == 0:
        return []
    remedy, names = f"give {OPTION}=0", set(split.names)
    if not data.train_list.is_file():
        raise UserError("no such list of tags", data.train_list, f"{OPTION} is fitted to the tags of images", remedy)
    listed = read_image_list(data.train_list, len(data.classes))
    found = [entry for entry in listed if entry.name in names and (entry.tags or entry.is_negative)]
    if not found:
        rule = f"{OPTION} is fitted to tags of the images in {split.list_file}"
        raise UserError("lists none of the training images with tags", data.train_list, rule, remedy)
    return found


def fit_tags(
    network: Segmenter,
    entries: Sequence[ImageEntry],
    files: dict[str, Path],
    settings: Settings,
    device: torch.device,
) -> None:
    """Fit the network's classifier of whole images to the tags of the entries. files: name -> image."""
    tags, classes = network.single_scale().tags, network.num_labels - 1
    assert tags is not None
    move_network(tags.eval(), device)
    input_format = network.normalisation.with_mean(settings.IMAGE.MEAN.as_rgb())

    def pool(images: np.ndarray) -> Tensor:
        with autocast(device, settings.SOLVER.AMP):
            return tags.pool(input_format.prepare_batch(images, device))

    features = pool_features(
        pool,
        {entry.name: files[entry.name] for entry in entries},
        num_workers=settings.DATALOADER.NUM_WORKERS,
        device=device,
        remedy=f"give a smaller --IMAGE.SIZE.TEST, or {OPTION}=0",
        resize=partial(not_too_small, resize=size_of_network(settings.IMAGE.SIZE, full_size=False)),
    )
    targets = torch.stack([multi_hot(entry.tags, classes) for entry in entries]).numpy()
    weights, constants = map(torch.from_numpy, fit_logistic(features, targets, penalty=PENALTY))
    tags.layer.load_state_dict({"weight": weights, "bias": constants})
