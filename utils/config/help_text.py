"""Formats the options for --help: kind of value, description, valid range and default."""

import dataclasses
from typing import Any, get_args

from jsonargparse import DefaultHelpFormatter

from utils.config.fields import Option
from utils.files.locate import PROJECT_ROOT

NAMES = {int: "N", float: "X", str: "TEXT"}
WIDEST = 24  # characters; longer lists of choices are moved into the description


class HelpFormatter(DefaultHelpFormatter):
    """Prints help texts unchanged; jsonargparse would add Python types."""

    def _get_help_string(self, action: Any) -> str:
        return action.help or ""


def value_name(option: Option) -> str:
    """Return the placeholder for the value: N, X (a real number), TEXT, a list of these, or the choices."""
    if option.choices:
        choices = "|".join(map(str, option.choices))
        return choices if len(choices) <= WIDEST else "NAME"
    if option.is_switch:
        return "true|false"
    if option.is_list:
        name = NAMES.get(get_args(option.base)[0], "TEXT")
        return f"{name},{name},..."
    return NAMES.get(option.base, "TEXT")


def help_of(option: Option) -> str:
    """Return an option's description with its valid range and default, where these are informative."""
    facts = []
    if option.choices and value_name(option) == "NAME":
        facts.append("one of " + ", ".join(map(str, option.choices)))
    if option.rule:
        facts.append(option.rule)
    if option.default is dataclasses.MISSING:
        facts.append("required")
    elif option.default is not None and option.default != ():
        facts.append(f"default {_shown(option.default)}")
    text = option.help
    return f"{text} [{'; '.join(facts)}]" if facts else text


def _shown(value: Any) -> str:
    """Format a value the way the user types it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return str(value).removeprefix(f"{PROJECT_ROOT}/")
