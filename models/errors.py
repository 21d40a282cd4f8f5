"""Errors of the networks: invalid option values and weights that do not fit. Programs add the option or the file."""

from collections.abc import Sequence
from dataclasses import dataclass


class ModelOptionError(Exception):
    """An option value that a network does not support. option: its name; value: as given; valid: the rule or remedy."""

    def __init__(self, option: str, value: object, valid: str) -> None:
        self.option, self.value, self.valid = option, value, valid
        super().__init__(f"{option}={value}: {valid}")


@dataclass(frozen=True)
class Misfit:
    """How weights differ from a network: missing and unexpected names, and tensors of another shape."""

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    misshapen: Sequence[str] = ()
    wanted: int = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        found = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        parts = [f"{len(names)} {kind} ({_first(names)})" for kind, names in found.items() if names]
        return f"of {self.wanted} tensors " + ", ".join(parts)


class WeightsError(ModelOptionError):
    """Weights that cannot be loaded. misfit: the tensors whose names or shapes differ, if that is the reason."""

    def __init__(self, network: str, problem: str, remedy: str = "", *, misfit: Misfit | None = None) -> None:
        super().__init__("weights", problem, remedy)
        self.network, self.misfit = network, misfit or Misfit()

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"these weights are not for {self.network}", str(self.value), self.valid)))


def _first(names: Sequence[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
