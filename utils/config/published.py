"""Translates command lines with published flags to this project's options."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.config.fields import Option
from utils.config.published_flags import Flag
from utils.config.published_rules import FUNCTIONS, Command
from utils.errors import UserError
from utils.files.locate import run_dir

_FALSE = ("false", "no", "off")
_BOOLEANS = ("true", "yes", "on", *_FALSE)


@dataclass(frozen=True)
class Word:
    """A flag of a command line and its value, if it has one."""

    flag: str
    value: str | None = None
    typed: str = ""  # its name as typed, for messages

    def __str__(self) -> str:
        return self.flag if self.value is None else f"{self.flag}={self.value}"


@dataclass
class CommandLine:
    """A command line in this project's options, and the published flags it contained, with their values."""

    words: list[Word] = field(default_factory=list)
    published: list[tuple[Flag, str]] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)  # words that belong to no flag

    @property
    def given(self) -> set[str]:
        """The options given on the command line."""
        return {word.flag.removeprefix("--") for word in self.words}


def read_command_line(argv: Sequence[str], options: Mapping[str, Option], flags: Sequence[Flag]) -> CommandLine:
    """Split argv into flags with values and translate published flags.

    A value follows `=` or is the next word. A list may take several words. A switch needs no value.
    """
    table = {flag.name: flag for flag in flags}
    line, words = CommandLine(), list(argv)
    while words:
        typed, equals, value = words.pop(0).partition("=")
        if not _is_flag(typed):
            line.rest.append(typed + equals + value)
            continue
        if typed not in table and typed[:2] in table and not typed.startswith("--"):
            words.insert(0, typed[2:])  # -j4
            typed = typed[:2]
        flag = table.get(typed, Flag(typed, typed.removeprefix("--")))
        option = options.get(flag.option)
        word = Word(typed, value if equals else _next_value(words, flag, option, known=typed in table))
        _translate(word, flag, option, line)
    return line


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not re.match(r"-\.?\d", word) and word not in ("-", "--")


def _next_value(words: list[str], flag: Flag, option: Option | None, *, known: bool) -> str | None:
    """Remove and return the value after a flag without `=`, if there is one."""
    takes_value = known or option is not None or flag.option == "config"
    if not takes_value or flag.bare or not words or _is_flag(words[0]):
        return None
    if option is not None and option.is_switch and words[0].lower() not in _BOOLEANS:
        return None
    members = [words.pop(0)]
    while option is not None and option.is_list and words and not _is_flag(words[0]):
        members.append(words.pop(0))
    return ",".join(members)


def _translate(word: Word, flag: Flag, option: Option | None, line: CommandLine) -> None:
    value = word.value
    if flag.bare and (value or "").lower() in _FALSE:
        return
    if value == "" and flag.empty:
        value = flag.empty
    if flag.sets and (value is None or flag.folder):
        name, _, fixed = flag.sets.partition("=")
        line.words.append(Word(f"--{name}", fixed))
    elif flag.option:
        value = "true" if value is None and option is not None and option.is_switch else value
        line.words.append(Word(f"--{flag.option}", value, word.flag))
    line.published.append((flag, value or ""))


def apply_published(line: CommandLine, values: dict[str, Any]) -> list[str]:
    """Apply the rules of the published flags to the parsed values. Returns lines to print.

    Raises UserError if flags contradict each other or the run.
    """
    command = Command(values, line.given)
    _name_run(command, [(flag, value) for flag, value in line.published if flag.names_run and value])
    for flag, value in line.published:
        if flag.folder and value:
            _check_folder(command, flag, value)
        if flag.rule:
            FUNCTIONS[flag.rule](command, value)
        if flag.note:
            command.lines.append(f"{flag.name} has no effect here: {flag.note}")
    return command.lines


def show_lines(lines: Sequence[str]) -> None:
    """Print each line once, in torchrun's first process only."""
    if os.environ.get("RANK", "0") == "0":
        for line in dict.fromkeys(lines):
            print(f"note: {line}", file=sys.stderr)


def _name_run(command: Command, flags: Sequence[tuple[Flag, str]]) -> None:
    """If no experiment is given, use the folder after runs/ in the values of these flags."""
    if "experiment_name" in command.given:
        return
    found = {}
    for flag, value in flags:
        parts = Path(value).parts
        if "runs" in parts[:-1]:
            end = parts.index("runs") + 1
            found[flag.name] = (str(Path(*parts[:end])), parts[end])
    runs = list(dict.fromkeys(found.values()))
    if len({name for _, name in runs}) > 1:
        named = " ".join(f"{flag}=…/runs/{name}" for flag, (_, name) in found.items())
        raise UserError(named, rule="these are different runs", remedy="give --experiment_name")
    if runs:
        runs_dir, command.values["experiment_name"] = runs[0]
        command.set("runs_dir", runs_dir)


def _check_folder(command: Command, flag: Flag, value: str) -> None:
    """Raise UserError unless the value is the run's folder for this export."""
    due = run_dir(command.values["runs_dir"], command.values["experiment_name"]) / flag.folder
    if Path(value).absolute().resolve() != due.resolve():
        option = flag.sets.partition("=")[0]
        raise UserError(value, flag.name, f"the folder is always {due}", f"give --{option} instead")
