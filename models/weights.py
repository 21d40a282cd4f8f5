"""State dicts of any origin under a network's own names: one way for checkpoints, ImageNet files and timm's models."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from models.errors import Misfit, WeightsError

# batch norm's count of steps: no network here uses it, and older files do not have it
STEP_COUNT = "num_batches_tracked"
# what files hold weights under: this project and most others, then the trainers of timm and of DeiT
CONTAINERS = (
    "state_dict", "model", "model_ema", "state_dict_ema", "module", "model_state_dict", "model_state", "net", "network",
    "weights", "params", "params_ema", "ema", "teacher", "student", "backbone", "encoder",
)  # fmt: skip
Explain = Callable[[Misfit], str]


def tensors_in(content: Any, *, which: str = "state_dict", network: str = "a network") -> dict[str, Tensor]:
    """The tensors by name that a file's content holds, alone or in a container; `which` container is tried first.

    Raises WeightsError, which lists what the content holds at its top, where there are none.
    """
    if isinstance(content, Mapping):
        for name in dict.fromkeys((which, *CONTAINERS)):
            if isinstance(content.get(name), Mapping):
                return tensors_in(content[name], which=which, network=network)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        inner = [value for value in content.values() if isinstance(value, Mapping)]
        inner = [value for value in inner if any(isinstance(tensor, Tensor) for tensor in value.values())]
        if len(inner) == 1:  # whatever its name: nothing else can be meant
            return tensors_in(inner[0], which=which, network=network)
    raise WeightsError(
        network, f"it holds {_described(content)}", f"expected tensors by name, alone or under {', '.join(CONTAINERS)}"
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
    """`given` under the names of `own`: by name behind any one prefix, else, with by_order, in the same order.

    exact: `given` may hold no other tensors. by_order is for files with a library's own names: shapes and the kinds of
    tensors must agree one by one, and what follows the last of `own` (a classifier) is dropped. explain(misfit) gives
    the likely reason or the remedy. Raises WeightsError naming what does not fit or is not finite.
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
    """The prefix behind which `given` has the most of `own`'s names, such as `timm_model.`; "" where it has none."""
    found: Counter[str] = Counter()
    for name in given:
        for start in _starts(name):
            found[start] += name[len(start) :] in own
    best = max(found.values(), default=0)
    return min((start for start, count in found.items() if count == best), key=len, default="") if best else ""


def without_shared_prefix(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`given` without the parts that all of its names begin with, such as `module.model.`."""
    first = next(iter(given), "")
    shared = [start for start in _starts(first) if all(name.startswith(start) for name in given)]
    longest = max(shared, key=len, default="")
    return {name.removeprefix(longest): tensor for name, tensor in given.items()}


def without_step_counts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that image-pretrained weights must give."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(STEP_COUNT)}


def check_finite(tensors: Mapping[str, Tensor], *, network: str) -> None:
    """Raises WeightsError naming the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(
                network, f"{name} holds NaN or infinity", "use another file, or an earlier checkpoint of that training"
            )


def _starts(name: str) -> Iterator[str]:
    """ "a.b.c" -> "", "a.", "a.b."."""
    yield ""
    yield from (name[: i + 1] for i, letter in enumerate(name) if letter == ".")


def _in_order(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors of `given` in their order for those of `own`, None unless all shapes and kinds agree."""
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
    """What a file holds at its top, for messages."""
    if not isinstance(content, Mapping):
        return f"{type(content).__name__} where a state dict is expected"
    names = [f"{name} ({type(value).__name__})" for name, value in content.items()]
    return "at its top " + (", ".join(names[:limit]) + (", …" if len(names) > limit else "") or "nothing")
