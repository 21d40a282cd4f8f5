"""Options from the command line: default < --config file.yaml < --flag=value, into a frozen dataclass."""

import dataclasses
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings

from utils.paths import atomic_path, existing_path

set_parsing_settings(docstring_parse_attribute_docstrings=True)

OptionsT = TypeVar("OptionsT")


class _Parser(ArgumentParser):
    """Adds the legal names to what is said of an unknown option."""

    legal: ClassVar[list[str]] = []

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        words = [word.strip("'\"-.,:;()").split("=")[0] for word in str(message).split()]
        unknown = [w for w in words if w and w not in self.legal]
        near = sorted({hit for w in unknown for hit in difflib.get_close_matches(w, self.legal, n=2, cutoff=0.75)})
        hint = f"\nDid you mean: {', '.join('--' + n for n in near)}?" if near else ""
        is_unknown = "unrecognized" in str(message) or "not accepted" in str(message)
        legal = f"\nOptions: {', '.join('--' + name for name in self.legal)}" if is_unknown else ""
        self.exit(2, f"{self.prog}: error: {message}{hint}{legal}\n(--help explains each option)\n")


def parse_options(
    options_class: type[OptionsT], argv: Sequence[str] | None = None, *, defaults: Mapping[str, Any] | None = None
) -> OptionsT:
    """Parses argv (default: the command line) into `options_class`; leaves with status 2 and one message if it cannot.

    Published flag names in `options_class.ALIASES` keep working; a bare `--flag` of a boolean option means true.
    `defaults` replaces default values, e.g. by what a run's config.yaml says.
    """
    fields = {field.name: field for field in dataclasses.fields(options_class)}
    parser = _Parser(description=(options_class.__doc__ or "").strip(), parser_mode="yaml")
    parser.legal = [*fields, "config"]
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file of options, e.g. configs/voc12.yaml")
    parser.add_class_arguments(options_class, nested_key=None, as_group=False)
    if defaults:
        parser.set_defaults(dict(defaults))
    argv = _joined_lists(list(sys.argv[1:] if argv is None else argv), options_class, fields)
    argv = _published_names(argv, options_class, fields)
    namespace = parser.parse_args(argv)
    try:
        return options_class(**{name: namespace[name] for name in fields})
    except ValueError as error:
        parser.error(str(error))


def _joined_lists(argv: Sequence[str], options_class: type, fields: Mapping[str, dataclasses.Field]) -> list[str]:
    """A list may also be words of its own: `--flag a b` becomes `--flag=a,b`."""
    aliases = getattr(options_class, "ALIASES", {})
    words, result = list(argv), []
    while words:
        flag = words.pop(0)
        name = aliases.get(flag[2:], flag[2:])
        members = []
        while name in fields and _is_list(fields[name]) and words and not words[0].startswith("--"):
            members.append(words.pop(0))
        result.append(f"{flag}={','.join(members)}" if members else flag)
    return result


def _bracketed(value: str, field: dataclasses.Field) -> str:
    """`a,b` as a YAML list; names stay names that YAML would take for numbers: 001."""
    members = value.split(",")
    return f"[{','.join(map(json.dumps, members) if 'str' in str(field.type) else members)}]"


def _is_list(field: dataclasses.Field) -> bool:
    return "tuple" in str(field.type)


def _published_names(argv: list[str], options_class: type, fields: Mapping[str, dataclasses.Field]) -> list[str]:
    aliases = getattr(options_class, "ALIASES", {})
    result = []
    for position, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag.startswith("--"):
            name = aliases.get(flag[2:], flag[2:])
            flag = f"--{name}"
            followed = position + 1 < len(argv) and not argv[position + 1].startswith("--")
            if name in fields and fields[name].type in (bool, "bool") and not equals and not followed:
                equals, value = "=", "true"
            if name in fields and _is_list(fields[name]) and equals and value[:1] not in ("[", "(") and value != "null":
                value = _bracketed(value, fields[name])  # the published scripts write 5,10
            if name == "config":
                value = str(existing_path(value, "--config")) if equals else value
        result.append(flag + equals + value)
    return result


def save_options(options: Any, path: Path) -> None:
    """Writes every option of a dataclass as YAML, so that `--config` reads the same options back."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(options).items()}
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False))


def load_options(options_class: type[OptionsT], path: Path) -> OptionsT:
    """Reads what save_options wrote. Raises FileNotFoundError with the remedy where there is no run."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: run train_l2g.py --experiment_name {path.parent.name} first, or check the name"
        )
    return parse_options(options_class, [f"--config={path}"])


def main(options_class: type[OptionsT], run: Any) -> None:
    """The body of an entry point: parse, run, and turn what a user can mend into one line and status 1."""
    options = parse_options(options_class)
    try:
        run(options)
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on where it stopped")
