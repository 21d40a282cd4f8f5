"""Builds a run's classifier and loads its weights. Errors name the option or file that the user gave."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from models.cam_net import CamNet, build_cam_net, load_weights
from models.errors import ModelOptionError, WeightsError
from utils.config.options import TrainOptions
from utils.errors import UserError, as_user_error
from utils.files.downloads import impatient_downloads
from utils.files.locate import weights_path
from utils.training.weights import read_weights

# options whose name in models/ differs from that of train_l2g.py
OPTION_OF = {"pretrained": "init_weights", "num_classes": "dataset"}


def build_network(options: TrainOptions, num_classes: int, *, pretrained: bool = False) -> CamNet:
    """Build the network with random weights, or those that timm downloads. Raises UserError naming the option."""
    with _options_named(), impatient_downloads() if pretrained else nullcontext():
        return build_cam_net(
            options.backbone,
            num_classes,
            attention=options.attention,
            suppression=options.suppression,
            suppression_stages=options.suppression_stages,
            width=options.width,
            output_stride=options.output_stride,
            dropout=options.dropout,
            padding=options.padding,
            pretrained=pretrained,
        )


def build_initial(options: TrainOptions, num_classes: int) -> CamNet:
    """Build the network with the weights that --init_weights names. Raises UserError naming the option or file."""
    net = build_network(options, num_classes, pretrained=options.init_weights == "timm")
    if options.init_weights not in ("none", "timm"):
        load_backbone_file(net, weights_path(options.init_weights))
    return net


def freeze_layers(network: CamNet, options: TrainOptions) -> None:
    """Freeze layers according to the options. Raises UserError if the network has fewer stages, or no named layers."""
    with _options_named():
        if options.layer_decay < 1:
            network.parameter_depths()
        network.freeze(
            stages=options.frozen_stages,
            batch_norm=options.freeze_batch_norm,
            published_gates=options.train_gates == "published",
        )


@contextmanager
def _options_named() -> Iterator[None]:
    """Convert a network's ModelOptionError to a UserError that names the option of train_l2g.py."""
    try:
        yield
    except ModelOptionError as error:
        name = OPTION_OF.get(error.option, error.option)
        raise UserError(str(error.value), f"--{name}", error.valid) from error


def load_file(network: CamNet, path: Path, content: Mapping[str, Any], *, which: str) -> None:
    """Load the complete network from the content of `path`. Raises UserError naming the file if it does not fit."""
    with as_user_error(WeightsError, path):
        load_weights(network, content, which=which)


def load_backbone_file(network: CamNet, path: Path) -> None:
    """Load all except the new layers from pretrained weights or a checkpoint. Raises like load_file."""
    content = read_weights(path)
    with as_user_error(WeightsError, path):
        network.load_backbone(content)
