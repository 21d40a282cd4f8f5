"""Writes options as YAML that reads back as the same options, and reads such files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from utils.config.fields import values_of
from utils.errors import UserError
from utils.files.text import read_text

MOST_VALUES = 100_000  # in a file, aliases expanded


class _Dumper(yaml.SafeDumper):
    """Quotes every string, so that every YAML reader reads `1e5`, `on` and `null` as strings."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
_Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True))


class _Key(str):
    """The name of an option, written without quotes."""


_Dumper.add_representer(_Key, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text)))


def options_text(options: Any) -> str:
    """Return every option of a dataclass as YAML."""
    tree: dict[str, Any] = {}
    for name, value in values_of(options):
        *outer, last = map(_Key, name.split("."))
        branch = tree
        for part in outer:
            branch = branch.setdefault(part, {})
        branch[last] = _plain(value)
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _plain(value: Any) -> Any:
    """Convert the value to types that YAML can write."""
    if isinstance(value, Path):
        return str(value)
    return [_plain(member) for member in value] if isinstance(value, tuple) else value


def read_options(path: Path) -> dict[str, Any]:
    """Read a YAML file of options by name; {} if it is empty. Raises UserError naming the file."""
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"contains {type(content).__name__} instead of options", path, "expected `NAME: VALUE`")
    return content


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises UserError naming the file, also where aliases expand to more than MOST_VALUES."""
    text = read_text(path)
    try:
        content = yaml.safe_load(text)
        if _size(content, {}) > MOST_VALUES:
            raise UserError(f"contains more than {MOST_VALUES} values with aliases expanded", path)
    except yaml.YAMLError as error:
        raise UserError(
            f"is not YAML ({' '.join(str(error).split())})", path, "expected lines of `NAME: VALUE`"
        ) from error
    except RecursionError as error:
        raise UserError("is nested too deeply, or contains itself", path, "expected lines of `NAME: VALUE`") from error
    return content


def _size(content: Any, known: dict[int, int]) -> int:
    """Count the values in a tree with shared branches. Each branch is counted once and added for every occurrence."""
    if not isinstance(content, (dict, list)):
        return 1
    if id(content) not in known:
        members: Iterable[Any] = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_size(member, known) for member in members)
    return known[id(content)]
