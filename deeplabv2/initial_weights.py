"""Initial weights of a segmentation network: published files, torchvision's and timm's weights, own checkpoints."""

from pathlib import Path
from typing import Any

from torch import Tensor

from deeplabv2.models.segmenter import Segmenter, SingleScale
from deeplabv2.models.tag_evidence import PREFIX
from deeplabv2.settings import ModelSettings
from models.errors import WeightsError
from models.weights import fit, matching_prefix, tensors_in, without_shared_prefix, without_step_counts
from utils.errors import UserError, as_user_error
from utils.files.downloads import impatient_downloads
from utils.files.locate import DEEPLAB_ROOT, weights_path
from utils.training.weights import NO_WEIGHTS, read_weights, require_weights

OPTION = "MODEL.INIT_MODEL"
DOWNLOAD = "imagenet"


def initial_path(source: str | None) -> Path | None:
    """Return the file of MODEL.INIT_MODEL, or None for none and for downloads. Raises UserError if it is missing."""
    if source in (*NO_WEIGHTS, DOWNLOAD):
        return None
    return weights_path(source, OPTION, search_dirs=(DEEPLAB_ROOT,))


def check_start(model: ModelSettings) -> None:
    """Raise UserError if the settings would freeze randomly initialised layers."""
    frozen = {
        "MODEL.FROZEN_STAGES": (model.FROZEN_STAGES, 0),
        "MODEL.FREEZE_BATCH_NORM": (model.FREEZE_BATCH_NORM, False),
        "MODEL.TAG_EVIDENCE": (model.TAG_EVIDENCE, 0.0),
    }
    require_weights(model.INIT_MODEL, OPTION, frozen=frozen)


def load_initial(module: Segmenter, source: str | None) -> str:
    """Load the backbone, and the head if the file contains it. Returns one line that describes what was loaded.

    source: a file (relative to the current folder, deeplabv2/ or the project's), package:NAME, `imagenet` (downloads),
    or none. Raises UserError naming the file unless every layer except the head is loaded.
    """
    if source in NO_WEIGHTS:
        return f"{module.name}: random initial weights"
    path = initial_path(source)
    content = download(module.single_scale()) if path is None else read_weights(path)
    with as_user_error(WeightsError, path or OPTION):
        return load_state(module, content, origin=source)


def download(network: SingleScale) -> dict[str, Tensor]:
    """Download the ImageNet weights of the network's library. Raises UserError within seconds if that fails."""
    try:
        with impatient_downloads():
            return network.imagenet_state()
    except (OSError, RuntimeError) as error:  # raised by the libraries: no network, no such weights, damaged download
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(
            f"the ImageNet weights of {network.name} cannot be downloaded ({reason})",
            f"--{OPTION}={DOWNLOAD}",
            remedy=f"without an internet connection, give a file: {network.initial_files()}",
        ) from error


def load_state(module: Segmenter, content: Any, *, origin: str) -> str:
    """Like load_initial, from a file's content with the names of the published code, this trainer, torchvision or timm.

    origin: the file's name in the returned line. Raises WeightsError unless every layer except the head is loaded.
    """
    net = module.single_scale()
    given = tensors_in(content, network=net.name)
    own = {name: x for name, x in without_step_counts(net.state_dict()).items() if not name.startswith(PREFIX)}
    backbone = {name: tensor for name, tensor in own.items() if not net.is_head(name)}
    head = {name: tensor for name, tensor in own.items() if net.is_head(name)}
    prefix = matching_prefix(backbone, given)
    if not any(prefix + name in given for name in backbone):
        given, prefix = net.translate(without_shared_prefix(given)), ""
    expected = f"expected one of: {net.initial_files()}"
    found = fit(backbone, given, network=net.name, explain=lambda misfit: expected)
    theirs = {name: given[prefix + name] for name in head if prefix + name in given}
    has_head = all(name in theirs and theirs[name].shape == tensor.shape for name, tensor in head.items())
    if has_head:
        found |= fit(head, theirs, network=net.name)
    copies = {f"{PREFIX}{name}": tensor for name, tensor in found.items() if not net.is_head(name)}
    net.load_state_dict(found | (copies if net.tags is not None else {}), strict=False)
    return f"{module.name}: {len(backbone)} tensors of {origin}, head {'included' if has_head else 'new'}"
