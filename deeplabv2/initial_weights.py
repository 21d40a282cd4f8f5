"""Initial weights of a segmentation network: published files, those of torchvision and timm, own checkpoints."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from deeplabv2.models.segmenter import Segmenter
from utils.files.locate import DEEPLAB_ROOT, weights_path
from utils.training.checkpoint import STEP_COUNT, read_weights

NONE = (None, "none")
DOWNLOAD = "imagenet"


def initial_path(source: str | None) -> Path | None:
    """The file that MODEL.INIT_MODEL names, None for none and for a download. FileNotFoundError says where it goes."""
    if source in (*NONE, DOWNLOAD):
        return None
    return weights_path(source, what="MODEL.INIT_MODEL", places=(DEEPLAB_ROOT,))


def load_initial(module: Segmenter, source: str | None) -> str:
    """Fills the backbone, and the head if the file has it, and returns one line that says which.

    source is a file (from the current folder, deeplabv2/ or the project's), package:NAME, `imagenet` (downloads), or
    none. Its names: the published ones with or without `base.`, torchvision's, timm's, this trainer's. Raises
    ValueError unless every layer but the head is filled.
    """
    if source in NONE:
        if module.batch_norm_frozen:
            raise ValueError(
                f"{module.name} would train from random weights with frozen batch norms: name a file with "
                f"MODEL.INIT_MODEL ({module.single_scale().initial_files()}), or set MODEL.FREEZE_BATCH_NORM=false"
            )
        return f"{module.name}: random initial weights"
    path = initial_path(source)
    state = module.single_scale().imagenet_state() if path is None else read_weights(path)
    return load_state(module, state, origin=source)


def load_state(module: Segmenter, state: Mapping[str, Tensor], *, origin: str) -> str:
    """As load_initial, from tensors by name; `origin` is what messages call them."""
    net = module.single_scale()
    own = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith(STEP_COUNT)}
    given = {name.removeprefix("module.").removeprefix("base."): t for name, t in state.items() if t is not None}
    backbone = [name for name in own if not net.is_head(name)]
    if not any(name in given for name in backbone):
        try:
            given = net.translate(given)
        except ValueError as error:
            raise ValueError(f"{origin}: {error}. Right are: {net.initial_files()}") from error
    missing = [name for name in backbone if name not in given]
    misfit = [name for name in backbone if name in given and given[name].shape != own[name].shape]
    if missing or misfit:
        raise ValueError(
            f"{origin} leaves layers of {net.name} at their random start: missing {_some(missing)}, of another shape "
            f"{_some(misfit)}, of {len(backbone)}. Right are: {net.initial_files()}"
        )
    head = [name for name in own if net.is_head(name)]
    has_head = all(name in given and given[name].shape == own[name].shape for name in head)
    net.load_state_dict({name: given[name] for name in backbone + (head if has_head else [])}, strict=False)
    return f"{module.name}: {len(backbone)} tensors of {origin}, head {'from there too' if has_head else 'new'}"


def _some(names: list[str], limit: int = 4) -> str:
    if not names:
        return "0"
    return f"{len(names)} ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})"
