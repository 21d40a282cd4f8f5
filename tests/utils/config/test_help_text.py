"""--help shows the kind of each value, its range and its default as they are typed."""

from dataclasses import dataclass
from typing import Literal

import pytest

from utils.config.fields import option_fields
from utils.config.help_text import help_of, value_name
from utils.config.parser import parse_options
from utils.config.valid import Fraction


@dataclass(frozen=True)
class Options:
    """Nothing."""

    needed: str
    """A name."""
    amount: Fraction = 0.5
    """How much."""
    sides: tuple[int, ...] = (3, 4)
    """Two of them."""
    switch: bool = False
    """On or off."""
    choice: Literal["one", "two"] = "one"
    """Which."""
    many: Literal["first", "second", "third", "fourth", "fifth"] | None = None
    """Which of many."""
    folder: str | None = None
    """Where; default here."""


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("needed", "TEXT", "[required]"),
        ("amount", "X", "[0 to 1; default 0.5]"),
        ("sides", "N,N,...", "[default 3,4]"),
        ("switch", "true|false", "[default false]"),
        ("choice", "one|two", "[default one]"),
        ("many", "NAME", "[one of first, second, third, fourth, fifth]"),
        ("folder", "TEXT", ""),
    ],
)
def test_an_option_shows_what_can_be_typed(name, value, facts):
    option = option_fields(Options)[name]
    assert value_name(option) == value
    assert help_of(option) == f"{option.help} {facts}".strip()


def test_the_whole_help_names_no_python_type(capsys):
    with pytest.raises(SystemExit):
        parse_options(Options, ["--help"])
    text = capsys.readouterr().out
    assert "class '" not in text and "Optional[" not in text and "--sides N,N,..." in text


def test_a_value_of_another_kind_is_refused_in_plain_words(capsys):
    with pytest.raises(SystemExit):
        parse_options(Options, ["--needed=a", "--amount=much"])
    message = capsys.readouterr().err
    assert "--amount" in message and "class '" not in message
