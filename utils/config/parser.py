"""Options from the command line: default < --config file.yaml < --flag=value, into a frozen dataclass."""

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings

from utils.errors import UserError
from utils.files.atomic import write_text
from utils.files.locate import existing_path

set_parsing_settings(docstring_parse_attribute_docstrings=True)

OptionsT = TypeVar("OptionsT")


class _Parser(ArgumentParser):
    """Adds the legal names to what is said of an unknown option."""

    legal: ClassVar[list[str]] = []
    files: ClassVar[list[str]] = []

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        message = str(message)
        in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
        in_file = in_group or "not accepted" in message
        if in_group:
            message = f"Option '{in_group[1]}.{in_group[2]}' is not accepted"
        if in_file and self.files:
            message = f"{' or '.join(self.files)}: {message}"
        is_unknown = in_file or "unrecognized" in message
        legal = f"\nOptions: {', '.join('--' + name for name in self.legal)}" if is_unknown else ""
        near = self._near(message) if is_unknown else []
        hint = f"\nDid you mean: {', '.join('--' + name for name in near)}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message}{hint}{legal}\n(--help explains each option)\n")

    def _near(self, message: str) -> list[str]:
        """Legal names like the words of the message, or of which a word is the last part."""
        words = {word.strip("'\"-.,:;()").split("=")[0] for word in message.split()} - {"", *self.legal}
        close = {hit for w in words for hit in difflib.get_close_matches(w, self.legal, n=2, cutoff=0.75)}
        return sorted(close | {name for name in self.legal if name.rpartition(".")[2] in words})


def option_fields(options_class: type, prefix: str = "") -> dict[str, dataclasses.Field]:
    """Every option by its flag's name; those of a nested dataclass as `OUTER.INNER`."""
    result = {}
    for field in dataclasses.fields(options_class):
        if dataclasses.is_dataclass(field.type):
            result |= option_fields(field.type, f"{prefix}{field.name}.")
        else:
            result[prefix + field.name] = field
    return result


def parse_options(
    options_class: type[OptionsT],
    argv: Sequence[str] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    places: Sequence[Path] = (),
) -> OptionsT:
    """Parses argv (default: the command line) into `options_class`; leaves with status 2 and one message if it cannot.

    Published flag names in `options_class.ALIASES` keep working; a bare `--flag` of a boolean option means true.
    `defaults` replaces default values, e.g. by what a run's config.yaml says. The --config file is also looked for in
    `places`. A field whose type is a dataclass is a group: its options are `--OUTER.INNER`.
    """
    fields = option_fields(options_class)
    parser = _Parser(description=(options_class.__doc__ or "").strip(), parser_mode="yaml")
    parser.legal = [*fields, "config"]
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file of options, e.g. configs/voc12.yaml")
    parser.add_class_arguments(options_class, nested_key=None, as_group=False)
    if defaults:
        parser.set_defaults(dict(defaults))
    argv = _joined_lists(list(sys.argv[1:] if argv is None else argv), options_class, fields)
    try:
        argv = _published_names(argv, options_class, fields, places)
        parser.files = [word.removeprefix("--config=") for word in argv if word.startswith("--config=")]
        namespace = parser.parse_args(argv)
        return _filled(options_class, namespace)
    except (UserError, ValueError, FileNotFoundError) as error:
        parser.error(str(error))


def _filled(options_class: type[OptionsT], values: Any) -> OptionsT:
    """The dataclass with the parsed values, nested ones made first."""
    parsed = {field.name: values[field.name] for field in dataclasses.fields(options_class)}
    for field in dataclasses.fields(options_class):
        if dataclasses.is_dataclass(field.type) and not isinstance(parsed[field.name], field.type):
            parsed[field.name] = _filled(field.type, parsed[field.name])
    return options_class(**parsed)


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


def _published_names(
    argv: Sequence[str], options_class: type, fields: Mapping[str, dataclasses.Field], places: Sequence[Path]
) -> list[str]:
    aliases = getattr(options_class, "ALIASES", {})
    words, files, flags = list(argv), [], []
    while words:
        given, equals, value = words.pop(0).partition("=")
        if not given.startswith("--"):
            flags.append(given + equals + value)
            continue
        name = aliases.get(given[2:], given[2:])
        followed = bool(words) and not words[0].startswith("--")
        if name == "config":
            if not equals and followed:
                value = words.pop(0)
            # the parser obeys in order: a flag before the file must beat it too
            files.append(f"--config={existing_path(value, given, places=places)}" if value else "--config")
            continue
        if name in fields and fields[name].type in (bool, "bool") and not equals and not followed:
            equals, value = "=", "true"
        if name in fields and _is_list(fields[name]) and equals and value[:1] not in ("[", "(") and value != "null":
            value = _bracketed(value, fields[name])  # the published scripts write 5,10
        flags.append(f"--{name}{equals}{value}")
    return files + flags


def save_options(options: Any, path: Path) -> None:
    """Writes every option of a dataclass as YAML, so that `--config` reads the same options back."""
    write_text(path, yaml.safe_dump(_plain(dataclasses.asdict(options)), sort_keys=False))


def _plain(value: Any) -> Any:
    """The value in the types that YAML writes."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return list(value) if isinstance(value, tuple) else value


def load_options(options_class: type[OptionsT], path: Path) -> OptionsT:
    """Reads what save_options wrote. Raises FileNotFoundError with the remedy where there is no run."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: run train_l2g.py --experiment_name {path.parent.name} first, or check the name"
        )
    return parse_options(options_class, [f"--config={path}"])


def main(
    options_class: type[OptionsT], run: Any, *, argv: Sequence[str] | None = None, places: Sequence[Path] = ()
) -> None:
    """The body of an entry point: parse, run, and turn what a user can mend into one line and status 1."""
    options = parse_options(options_class, argv, places=places)
    try:
        run(options)
    except (UserError, ValueError, FileNotFoundError, FileExistsError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on where it stopped")
