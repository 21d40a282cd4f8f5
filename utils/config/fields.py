"""What the parser knows of an options dataclass: its options by group, each with type, default, help and rule."""

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
    default: Any  # dataclasses.MISSING where it must be given
    owner: type  # the class that declares it

    @property
    def help(self) -> str:
        """The text under the field, read from the source: it takes longer than parsing."""
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
        """The valid range, in words; empty where any value will do."""
        return rule_of(self.hint)

    def check(self, value: Any) -> list[str]:
        """What a value violates."""
        return [f"--{self.name}: {problem}" for problem in problems(self.hint, value)]


@dataclass
class Group:
    """Options that stand together in --help, under a title."""

    title: str
    options: list[Option] = field(default_factory=list)


@functools.cache
def option_groups(options_class: Any, prefix: str = "") -> list[Group]:
    """The options of a dataclass by the classes that declare them, in the order of its bases; nested ones follow."""
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
    """Every option by its flag's name; those of a nested dataclass as `OUTER.INNER`."""
    return {option.name: option for group in option_groups(options_class) for option in group.options}


def build(options_class: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """The dataclass with the values of option_fields, nested ones made first. Raises UserError by its own rules."""
    hints = get_type_hints(options_class)
    given = {}
    for item in dataclasses.fields(options_class):
        kind, name = hints[item.name], prefix + item.name
        given[item.name] = build(kind, values, f"{name}.") if dataclasses.is_dataclass(kind) else values[name]
    return options_class(**given)


def check_ranges(options: Mapping[str, Option], values: Mapping[str, Any]) -> None:
    """Raises one UserError for all values that are out of their valid range."""
    wrong = [problem for name, option in options.items() for problem in option.check(values[name])]
    if wrong:
        raise UserError("\n  ".join(wrong))


def values_of(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every option's name with its value, in the order of option_fields."""
    for name in option_fields(type(options)):
        value = options
        for part in name.split("."):
            value = getattr(value, part)
        yield name, value


def _declared(owner: type) -> list[str]:
    return list(inspect.get_annotations(owner))


def _is_inherited(owner: type, name: str) -> bool:
    """Whether a base declares the option: one that only changes its default leaves it in the base's group."""
    return any(name in _declared(base) for base in owner.__mro__[1:])


@functools.cache
def _help_texts(owner: type) -> dict[str, str]:
    """The text under each field."""
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
