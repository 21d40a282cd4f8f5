"""Match state dicts of any origin (checkpoints, ImageNet files, timm models) to a network's parameter names."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from models.errors import Misfit, WeightsError

# batch norm's step counter: unused here, and missing in older files
STEP_COUNT = "num_batches_tracked"
# keys under which files store weights: this project and most others, then the trainers of timm and DeiT
CONTAINERS = (
    "state_dict", "model", "model_ema", "state_dict_ema", "module", "model_state_dict", "model_state", "net", "network",
    "weights", "params", "params_ema", "ema", "teacher", "student", "backbone", "encoder",
)  # fmt: skip
# keys under which a classifier's checkpoint stores the weights of the global and of the local network
WEIGHT_SETS = ("state_dict", "local_dict")
Explain = Callable[[Misfit], str]


def tensors_in(content: Any, *, which: str = "state_dict", network: str = "a network") -> dict[str, Tensor]:
    """Return the named tensors in a file's content, directly or in a container. The container `which` is tried first.

    Raises WeightsError listing the top-level content if there are none.
    """
    if isinstance(content, Mapping) and isinstance(content.get(which, {}), Mapping):
        for name in dict.fromkeys((which, *CONTAINERS)):
            if isinstance(content.get(name), Mapping):
                return tensors_in(content[name], which=which, network=network)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        inner = [value for value in content.values() if isinstance(value, Mapping)]
        inner = [value for value in inner if any(isinstance(tensor, Tensor) for tensor in value.values())]
        if len(inner) == 1 and not content.keys() & {which, *CONTAINERS, *WEIGHT_SETS}:
            # whatever its name: nothing else can be meant
            return tensors_in(inner[0], which=which, network=network)
    raise WeightsError(
        network, f"found {_described(content)}", f"expected named tensors, alone or under {', '.join(CONTAINERS)}"
    )


def fit(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    *,
    network: str,
    exact: bool = False,
    by_order: bool = False,
    explain: Explain | None = None,
) -> dict[str, Tensor]:
    """Remap `given` to the names of `own`: by name with any common prefix, else, with by_order, by position.

    exact: refuse additional tensors in `given`. by_order: for files with another library's names; shapes and kinds of
    tensors must agree one by one, and tensors after the last of `own` (a classifier) are dropped. explain(misfit)
    returns the likely reason or the remedy. Raises WeightsError naming tensors that do not fit or are not finite.
    """
    prefix = matching_prefix(own, given)
    found = {name: given[prefix + name] for name in own if prefix + name in given}
    misfit = Misfit(
        [name for name in own if name not in found and not name.endswith(STEP_COUNT)],
        [n for n in given if not (n.startswith(prefix) and n.removeprefix(prefix) in own)] if exact else [],
        [f"{n} {tuple(t.shape)} for {tuple(own[n].shape)}" for n, t in found.items() if t.shape != own[n].shape],
        len(own),
    )
    if misfit and by_order and (ordered := _in_order(own, given)):
        found, misfit = ordered, Misfit()
    if misfit:
        raise WeightsError(network, str(misfit), explain(misfit) if explain else "", misfit=misfit)
    check_finite(found, network=network)
    return found


def matching_prefix(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return the prefix, such as `timm_model.`, with which `given` has most of `own`'s names; "" if it has none."""
    found: Counter[str] = Counter()
    for name in given:
        for start in _starts(name):
            found[start] += name[len(start) :] in own
    best = max(found.values(), default=0)
    return min((start for start, count in found.items() if count == best), key=len, default="") if best else ""


def without_shared_prefix(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefix that all names share, such as `module.model.`."""
    first = next(iter(given), "")
    shared = [start for start in _starts(first) if all(name.startswith(start) for name in given)]
    longest = max(shared, key=len, default="")
    return {name.removeprefix(longest): tensor for name, tensor in given.items()}


def without_step_counts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that pretrained weights must contain."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(STEP_COUNT)}


def check_finite(tensors: Mapping[str, Tensor], *, network: str) -> None:
    """Raise WeightsError naming the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(
                network,
                f"{name} contains NaN or infinity",
                "use another file, or an earlier checkpoint of that training",
            )


def _starts(name: str) -> Iterator[str]:
    """Yield the dotted prefixes of a name: "a.b.c" -> "", "a.", "a.b."."""
    yield ""
    yield from (name[: i + 1] for i, letter in enumerate(name) if letter == ".")


def _in_order(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Match the tensors of `given` to those of `own` by position. None unless all shapes and kinds agree."""
    wanted, theirs = without_step_counts(own), without_step_counts(given)
    if not 0 < len(wanted) <= len(theirs):
        return None
    pairs = list(zip(wanted, theirs, strict=False))
    agree = all(
        wanted[mine].shape == theirs[other].shape and mine.rpartition(".")[2] == other.rpartition(".")[2]
        for mine, other in pairs
    )
    return {mine: theirs[other] for mine, other in pairs} if agree else None


def _described(content: Any, limit: int = 5) -> str:
    """Describe a file's top-level content for messages."""
    if not isinstance(content, Mapping):
        return f"{type(content).__name__} instead of a state dict"
    names = [f"{name} ({type(value).__name__})" for name, value in content.items()]
    return "at top level " + (", ".join(names[:limit]) + (", …" if len(names) > limit else "") or "nothing")
