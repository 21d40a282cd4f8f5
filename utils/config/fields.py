"""Describes an options dataclass for the parser: options by group, each with type, default, help and valid range."""

import dataclasses
import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object

from utils.config.valid import problems, rule_of
from utils.errors import UserError


@dataclass(frozen=True)
class Option:
    """One option: its flag's name without dashes, `OUTER.INNER` in a nested dataclass."""

    name: str
    kind: Any  # its type
    hint: Any  # its type with the valid range, as declared
    default: Any  # dataclasses.MISSING if it is required
    owner: type  # the class that declares it

    @property
    def help(self) -> str:
        """The docstring under the field. Read from the source on demand, since that takes longer than parsing."""
        return _help_texts(self.owner).get(self.name.rpartition(".")[2], "")

    @property
    def base(self) -> Any:
        """The type without None."""
        return _without_none(self.kind)

    @property
    def is_list(self) -> bool:
        return get_origin(self.base) is tuple

    @property
    def is_switch(self) -> bool:
        return self.base is bool

    @property
    def may_be_none(self) -> bool:
        return NoneType in get_args(self.kind)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal; empty for other types."""
        return get_args(self.base) if get_origin(self.base) is Literal else ()

    @property
    def rule(self) -> str:
        """The valid range in words; empty if any value is valid."""
        return rule_of(self.hint)

    def check(self, value: Any) -> list[str]:
        """Return the rules that a value violates."""
        return [f"--{self.name}: {problem}" for problem in problems(self.hint, value)]


@dataclass
class Group:
    """Options listed under one title in --help."""

    title: str
    options: list[Option] = field(default_factory=list)


@functools.cache
def option_groups(options_class: Any, prefix: str = "") -> list[Group]:
    """Group the options of a dataclass by the class that declares them, in the order of its bases, nested ones last."""
    kinds, hints = get_type_hints(options_class), get_type_hints(options_class, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(options_class)}
    groups, nested = [], []
    for owner in options_class.__mro__:
        own = [fields.pop(name) for name in _declared(owner) if name in fields and not _is_inherited(owner, name)]
        if not own:
            continue
        group = Group("" if owner is options_class and not prefix else _title(owner, prefix))
        for item in own:
            name, kind = prefix + item.name, kinds[item.name]
            if dataclasses.is_dataclass(kind):
                nested += option_groups(cast(type, kind), f"{name}.")
            else:
                group.options.append(Option(name, kind, hints[item.name], item.default, owner))
        groups += [group] if group.options else []
    return groups + nested


def option_fields(options_class: type) -> dict[str, Option]:
    """Return every option by its flag's name; those of a nested dataclass as `OUTER.INNER`."""
    return {option.name: option for group in option_groups(options_class) for option in group.options}


def build(options_class: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Build the dataclass from values by option name, nested ones first. Raises the UserErrors of its __post_init__."""
    hints = get_type_hints(options_class)
    given = {}
    for item in dataclasses.fields(options_class):
        kind, name = hints[item.name], prefix + item.name
        given[item.name] = build(kind, values, f"{name}.") if dataclasses.is_dataclass(kind) else values[name]
    return options_class(**given)


def check_ranges(options: Mapping[str, Option], values: Mapping[str, Any]) -> None:
    """Raise one UserError for all values outside their valid range."""
    wrong = [problem for name, option in options.items() for problem in option.check(values[name])]
    if wrong:
        raise UserError("\n  ".join(wrong))


def values_of(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option's name and value, in the order of option_fields."""
    for name in option_fields(type(options)):
        value = options
        for part in name.split("."):
            value = getattr(value, part)
        yield name, value


def _declared(owner: type) -> list[str]:
    return list(inspect.get_annotations(owner))


def _is_inherited(owner: type, name: str) -> bool:
    """Return whether a base class declares the option. A class that only changes its default does not move it."""
    return any(name in _declared(base) for base in owner.__mro__[1:])


@functools.cache
def _help_texts(owner: type) -> dict[str, str]:
    """Return the docstring under each field."""
    return {
        name: " ".join((item.description or "").split())
        for item in parse_from_object(owner).params
        for name in item.arg_name.split(", ")
    }


def _title(owner: type, prefix: str) -> str:
    text = (owner.__doc__ or owner.__name__).strip().splitlines()[0].rstrip(".")
    return f"{prefix.rstrip('.')}: {text}" if prefix else text


def _without_none(hint: Any) -> Any:
    kinds = [part for part in get_args(hint) if part is not NoneType]
    return kinds[0] if get_origin(hint) in (Union, UnionType) and len(kinds) == 1 else hint
