"""Valid ranges declared in the type of an option: `Count`, `Fraction`, `Pixels`, and so on."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """Valid numbers: from `least` (exclusive with `above`) to `most`, and those in `also`."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    also: tuple[float, ...] = ()

    def holds(self, value: float) -> bool:
        """Return whether the value is finite and in the range."""
        if value in self.also:
            return True
        return (
            math.isfinite(value) and (self.least < value if self.above else self.least <= value) and value <= self.most
        )

    def __str__(self) -> str:
        if math.isinf(self.least):
            text = "a finite number"
        elif math.isinf(self.most):
            text = f"above {self.least:g}" if self.above else f"{_number(self.least)} or more"
        elif self.above:
            text = f"above {_number(self.least)}, up to {_number(self.most)}"
        else:
            text = f"{_number(self.least)} to {_number(self.most)}"
        return " or ".join([*map(_number, self.also), text])


@dataclass(frozen=True)
class Items:
    """Valid lengths of a list."""

    least: int = 1
    most: int = 32

    def __str__(self) -> str:
        return f"{self.least} to {self.most} values"


@dataclass(frozen=True)
class Words:
    """Valid texts: those that match the whole regular expression. rule: its description."""

    pattern: str
    rule: str

    def __str__(self) -> str:
        return self.rule


@dataclass(frozen=True)
class NoWorkers:
    """Marks a number of worker processes. value: the one that means no workers, which --debug sets."""

    value: int


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
PositiveFraction = Annotated[float, Range(0, 1, above=True)]
Degrees = Annotated[float, Range(0, 180)]
# scale of an image: above 10, memory runs out without any benefit
Factor = Annotated[float, Range(0, 10, above=True)]
Factors = Annotated[tuple[Factor, ...], Items(1, 32)]
# mean or standard deviation per channel, 0..1
Color = tuple[Fraction, Fraction, Fraction]
Deviation = tuple[PositiveFraction, PositiveFraction, PositiveFraction]

Device = Annotated[str, Words(r"auto|cpu|cuda(:\d{1,3})?", "auto, cpu, cuda or cuda:NUMBER")]
Count = Annotated[int, Range(1, 10_000_000)]
# of three strata of at least two
SampleSize = Annotated[int, Range(6, 10_000)]
CountOrNone = Annotated[int, Range(0, 10_000_000)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
BatchSize = Annotated[int, Range(1, 4096)]
BatchSizeOrOwn = Annotated[int, Range(1, 4096, also=(0,))]
Batches = Annotated[int, Range(1, 1024)]
Momentum = Annotated[float, Range(0, 0.9999)]
Width = Annotated[float, Range(0, 16, above=True)]
Stride = Annotated[int, Range(1, 32)]
# side of a network's input: larger ones exceed any memory
Pixels = Annotated[int, Range(8, 4096)]
PixelsOrOwn = Annotated[int, Range(8, 4096, also=(0,))]
Precision = Literal["off", "bf16", "fp16", "auto"]
LoaderWorkers = Annotated[int, Range(0, 256), NoWorkers(0)]
Processes = Annotated[int, Range(0, 256), NoWorkers(1)]
# shared by several programs and utils/crf
CrfBackend = Literal["lattice", "pydensecrf"]


def rule_of(hint: Any) -> str:
    """Describe a type's valid values for --help: `1 to 32 values, each above 0, up to 10`; empty if any is valid."""
    base, marks = _unpacked(hint)
    own = [str(mark) for mark in marks if isinstance(mark, (Range, Items, Words))]
    inner = list(dict.fromkeys(filter(None, (rule_of(part) for part in get_args(base) if part is not Ellipsis))))
    if get_origin(base) is tuple and inner:
        inner = ["each " + " / ".join(inner)]
    return ", ".join(own + inner)


def problems(hint: Any, value: Any) -> Iterator[str]:
    """Yield one text per rule that a value of the right type violates; the parser refuses other types."""
    base, marks = _unpacked(hint)
    for mark in marks:
        if isinstance(mark, Range) and isinstance(value, (int, float)) and not mark.holds(value):
            yield f"{value} is not in the valid range: {mark}"
        if isinstance(mark, Words) and isinstance(value, str) and not re.fullmatch(mark.pattern, value):
            yield f"{value!r} is not valid: expected {mark}"
        if isinstance(mark, Items) and isinstance(value, tuple) and not mark.least <= len(value) <= mark.most:
            yield f"{len(value)} values given: expected {mark}"
    parts = get_args(base)
    if get_origin(base) is tuple and isinstance(value, tuple):
        kinds = [parts[0]] * len(value) if len(parts) == 2 and parts[1] is Ellipsis else parts
        for kind, member in zip(kinds, value):
            yield from problems(kind, member)
    elif value is not None and get_origin(base) is not tuple:
        for part in parts:
            yield from problems(part, value)


def mark_of(hint: Any, kind: type) -> Any:
    """Return the first annotation of this kind in the type, or None."""
    return next((mark for mark in _unpacked(hint)[1] if isinstance(mark, kind)), None)


def _unpacked(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split an annotated type into the plain type and its annotations."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[0], hint.__metadata__
    return hint, ()
