"""Frozen layers: the first stages of a backbone, or all of it."""

from typing import Literal

from torch import nn

from models.errors import ModelOptionError
from models.timm_features import MapForm, TimmModel, entries_of

FrozenStages = int | Literal["backbone"]


def check_stages(stages: int, last: int, name: str, *, what: str = "stages") -> None:
    """Raise ModelOptionError unless a backbone with `last` stages has the first `stages` of them."""
    if not 0 <= stages <= last:
        raise ModelOptionError(
            "frozen_stages", stages, f"expected 0 (none) to {last}, the {what} of {name}, or backbone"
        )


def timm_stage_modules(model: TimmModel, form: MapForm, stages: int, name: str) -> list[nn.Module]:
    """Return every layer up to the `stages`-th feature map: the stem's, or a transformer's first block, is 1.

    Raises ModelOptionError if the model has fewer.
    """
    names = [module for module, _ in model.named_modules()]
    ends = [module for module, _ in entries_of(model) if module in names]  # of a truncated model, those that are left
    check_stages(stages, len(ends), name, what="blocks" if form.kind == "tokens" else "stages")
    if stages == 0:
        return []
    last = ends[stages - 1]
    end = 1 + max(i for i, module in enumerate(names) if module == last or module.startswith(f"{last}."))
    # layers are registered in execution order; skip parents that also contain later layers
    parents = {module[:i] for module in names[end:] for i, letter in enumerate(module) if letter == "."} | {""}
    return [model.get_submodule(module) for module in names[:end] if module not in parents]


def tokens_of(model: TimmModel, form: MapForm) -> list[nn.Parameter]:
    """Return a transformer's tokens and position embeddings, which are in none of its modules."""
    return list(model.parameters(recurse=False)) if form.kind == "tokens" else []
