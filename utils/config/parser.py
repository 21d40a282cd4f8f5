"""Parses the command line into a frozen dataclass: default < --config file.yaml < --flag=value."""

import argparse
import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from utils.config.fields import Option, build, check_ranges, option_groups
from utils.config.help_text import HelpFormatter, help_of, value_name
from utils.config.published import CommandLine, Word, apply_published, read_command_line, show_lines
from utils.config.valid import NoWorkers, mark_of
from utils.config.yaml_text import options_text, read_options
from utils.errors import UserError
from utils.files.atomic import write_text
from utils.files.locate import existing_path
from utils.files.text import read_text

OptionsT = TypeVar("OptionsT")

# jsonargparse's messages use the names of Python types
KINDS = {"int": "an integer", "float": "a number", "str": "a text", "bool": "true or false"}
# passed to the parser for `--option=null`, because the quoted "null" of a file is a string
_NULL = "\0"


class _Parser(ArgumentParser):
    """An ArgumentParser whose error for an unknown option lists the valid names."""

    def __init__(self, options: Mapping[str, Option], description: str, command: str) -> None:
        super().__init__(
            prog=" ".join(filter(None, (Path(sys.argv[0]).name, command))),
            description=description,
            formatter_class=HelpFormatter,
            usage="%(prog)s [--OPTION=VALUE ...]",
            parser_mode="yaml",
            allow_abbrev=False,
            print_config=None,
        )
        self.names = [*options, "config", "debug", "print_config"]
        self.files: list[str] = []

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        message = re.sub(r"^(Parser key|argument) \"?(?:--)?([\w.]+)\"?:\s*", r"--\2: ", str(message))
        message = _of_one_line(message)
        message = re.sub(r"an? <class '(\w+)'>", lambda match: KINDS.get(match[1], match[1]), message)
        in_file = "not accepted" in message
        if in_file and self.files:
            message = f"{' or '.join(self.files)}: {message}"
        is_unknown = in_file or "unrecognized" in message
        valid = f"\nOptions: {', '.join('--' + name for name in self.names)}" if is_unknown else ""
        near = self._near(message) if is_unknown else []
        hint = f"\nDid you mean: {', '.join('--' + name for name in near)}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message}{hint}{valid}\n(--help explains each option)\n")

    def _near(self, message: str) -> list[str]:
        """Return valid names similar to a word of the message, or that end in one."""
        words = {word.strip("'\"-.,:;()").split("=")[0] for word in message.split()} - {"", *self.names}
        close = {hit for w in words for hit in difflib.get_close_matches(w, self.names, n=2, cutoff=0.75)}
        return sorted(close | {name for name in self.names if name.rpartition(".")[2] in words})


def _of_one_line(message: str) -> str:
    """Rewrite jsonargparse's list of a union's types: `Expected an integer or backbone. Got value: abc`."""
    if "Union subtypes" not in message:
        return message
    kinds = re.findall(r"^ *- Expected (.+?)(?:\. Got value: .*)?$", message, re.MULTILINE)
    kinds = ["null" if "NoneType" in kind else re.sub(r"an? typing\.Literal\[(.*)\]", r"\1", kind) for kind in kinds]
    given = re.search(r"Given value: (.*)", message)
    head = message.partition("Does not validate")[0]
    return f"{head}Expected {' or '.join(dict.fromkeys(kinds))}. Got value: {given[1] if given else ''}".rstrip()


class _Text:
    """The type of an optional text: any text stays unchanged, even if YAML would read it as another type."""

    def __call__(self, value: Any) -> str | None:
        if value is None or value == _NULL:
            return None
        if not isinstance(value, str):
            raise argparse.ArgumentTypeError(f"{value!r} is not a text: put it in quotes")
        return value

    def __repr__(self) -> str:
        return "text"


class _Choice:
    """The type of a Literal. A bare `off`, which YAML reads as false, counts as the word."""

    def __init__(self, option: Option) -> None:
        self.choices, self.may_be_none = option.choices, option.may_be_none

    def __call__(self, value: Any) -> Any:
        value = {False: "off", True: "on", _NULL: None}.get(value, value)
        if value in self.choices or (value is None and self.may_be_none):
            return value
        raise argparse.ArgumentTypeError(f"{value!r}: expected one of {', '.join(map(str, self.choices))}")

    def __repr__(self) -> str:
        return " | ".join(map(str, self.choices))


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A parsed command line: the options, and the flags that every program has."""

    options: Any
    debug: bool = False
    print_config: bool = False


def parse_options(
    options_class: type[OptionsT],
    argv: Sequence[str] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    search_dirs: Sequence[Path] = (),
) -> OptionsT:
    """Parse argv (default: the command line) into `options_class`. Exits with status 2 and a message on errors.

    The published flags in `options_class.PUBLISHED` are understood. A bare `--flag` of a boolean option means true.
    defaults: replace default values. search_dirs: further folders in which the --config file is searched. Without
    --config, the file that `options_class.usual_config` returns for the given flags is read, if there is one. A field
    whose type is a dataclass is a group with the options `--OUTER.INNER`. --print_config prints the options as YAML and
    exits.
    """
    return parse_command_line(options_class, argv, defaults=defaults, search_dirs=search_dirs).options


def parse_command_line(
    options_class: type,
    argv: Sequence[str] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    search_dirs: Sequence[Path] = (),
    command: str = "",
) -> Parsed:
    """Like parse_options, and return the flags that every program has. command: the program's step, for messages."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser, options = _make_parser(options_class, explain=bool({"-h", "--help"} & set(argv)), command=command)
    if defaults:
        parser.set_defaults(dict(defaults))
    try:
        line = read_command_line(argv, options, getattr(options_class, "PUBLISHED", ()))
        usual = _add_usual_config(line, options_class)
        words = _presets_of_training(_words(line, options, search_dirs), options)
        parser.files = [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
        namespace = parser.parse_args(words)
        _check_retired(options_class, namespace)
        values = {name: namespace[name] for name in options}
        notes = apply_published(line, values)
        check_ranges(options, values)
        if namespace["debug"]:
            values |= {name: mark.value for name, o in options.items() if (mark := mark_of(o.hint, NoWorkers))}
        parsed = Parsed(build(options_class, values), namespace["debug"])
    except UserError as error:
        parser.error(str(error))
    show_lines([*usual, *notes])
    if namespace["print_config"]:
        sys.stdout.write(options_text(parsed.options))
        parser.exit(0)
    return parsed


def _add_usual_config(line: CommandLine, options_class: type) -> list[str]:
    """Without --config, read the file that `options_class.usual_config` names for the flags. Returns a line on it."""
    find = getattr(options_class, "usual_config", None)
    if find is None or "config" in line.given:
        return []
    path = find({word.flag.removeprefix("--"): word.value for word in line.words if word.value})
    if path is None:
        return []
    line.words.insert(0, Word("--config", str(path), "--config"))
    return [f"settings from {path}"]


def _presets_of_training(words: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    """Replace --config by --preset for files with options that only training has."""
    if "preset" not in options:
        return list(words)
    from utils.config.options.train import TrainOptions  # not at the top: a circular import

    known = {field.name for field in dataclasses.fields(TrainOptions)}
    result = []
    for word in words:
        flag, _, value = word.partition("=")
        given = _keys_of(value) if flag == "--config" and value else set()
        result.append(f"--preset={value}" if given <= known and given - set(options) else word)
    return result


def _keys_of(file: str) -> set[str]:
    """Return the top-level keys of a YAML file."""
    return set(map(str, read_options(Path(file))))


def _make_parser(options_class: type, *, explain: bool, command: str) -> tuple[_Parser, dict[str, Option]]:
    groups = option_groups(options_class)
    options = {option.name: option for group in groups for option in group.options}
    parser = _Parser(options, (options_class.__doc__ or "").strip(), command)
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        help="a YAML file of options; may be given several times, later files take precedence",
    )
    parser.add_argument("--print_config", action="store_true", help="print the options as YAML and exit")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of all errors; use no worker processes")
    for name, value in getattr(options_class, "RETIRED", {}).items():
        parser.add_argument(f"--{name}", type=float, default=value, help=argparse.SUPPRESS)
    for group in groups:
        section = parser.add_argument_group(group.title) if group.title else parser
        for option in group.options:
            section.add_argument(f"--{option.name}", **_argument(option, explain=explain))
    return parser, options


def _check_retired(options_class: type, namespace: Namespace) -> None:
    """Accept former options in a run's config.yaml if they have the value that is a constant now."""
    for name, value in getattr(options_class, "RETIRED", {}).items():
        if namespace[name] != value:
            raise UserError(f"{namespace[name]:g}", f"--{name}", f"the value is fixed at {value:g}", "omit it")


def _argument(option: Option, *, explain: bool) -> dict[str, Any]:
    """Return jsonargparse's arguments for an option. explain: include the help text."""
    kind = option.kind
    if option.choices:
        kind = _Choice(option)
    elif option.base is str and option.may_be_none:
        kind = _Text()
    given: dict[str, Any] = {"type": kind}
    if explain:
        given |= {"metavar": value_name(option).replace("%", "%%"), "help": help_of(option).replace("%", "%%")}
    if option.default is dataclasses.MISSING:
        return {**given, "required": True}
    return {**given, "default": option.default}


def _words(line: CommandLine, options: Mapping[str, Option], search_dirs: Sequence[Path]) -> list[str]:
    """Return the words for jsonargparse, files first: later words win, and flags must win over files."""
    found = [_config_word(word, search_dirs) for word in line.words if word.flag == "--config"]
    others = [_word(word, options) for word in line.words if word.flag != "--config"]
    return [*filter(None, found), *others, *line.rest]


def _config_word(word: Word, search_dirs: Sequence[Path]) -> str:
    if not word.value:
        return word.flag  # the parser reports the missing value
    path = existing_path(word.value, word.typed, search_dirs=search_dirs)
    # errors in the file are raised here, since the parser's own errors do not name the file
    return f"--config={path}" if read_options(path) else ""


def _word(word: Word, options: Mapping[str, Option]) -> str:
    option, value = options.get(word.flag.removeprefix("--")), word.value
    if option is None or value is None:
        return str(word)
    if value == "null" and option.may_be_none and not option.is_list:
        value = _NULL if option.base is str or option.choices else value
    elif option.is_list and value[:1] not in ("[", "(") and value != "null":
        value = _bracketed(value, option)  # the published scripts use the form 5,10
    return f"{word.flag}={value}"


def _bracketed(value: str, option: Option) -> str:
    """Convert `a,b` to a YAML list. Names that YAML would read as numbers, such as 001, stay text."""
    members = value.split(",") if value else []
    if "str" in str(option.kind):
        members = [json.dumps(member, ensure_ascii=False) for member in members]
    return f"[{','.join(members)}]"


def save_options(options: Any, path: Path) -> None:
    """Write every option of a dataclass as YAML, for load_options."""
    write_text(path, options_text(options))


def load_options(options_class: type[OptionsT], path: Path) -> OptionsT:
    """Read the file written by save_options. Raises UserError with the remedy if there is no run."""
    if not path.is_file():
        name = path.parent.name
        raise UserError(
            "is missing", path, remedy=f"run train_l2g.py --experiment_name {name} first, or check the name"
        )
    remedy = "copy it from a backup, or train the run again"
    if not read_text(path).endswith("\n"):  # a truncated file may be valid YAML with other values
        raise UserError("is truncated: its last line is incomplete", path, remedy=remedy)
    if not read_options(path):
        raise UserError("contains no options", path, remedy=remedy)
    return parse_options(options_class, [f"--config={path}"])
