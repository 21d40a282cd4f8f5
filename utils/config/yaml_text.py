"""Options as YAML text that reads back as the same options, whatever the texts among them; files of options."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from utils.config.fields import values_of
from utils.errors import UserError
from utils.files.text import read_text

MOST_VALUES = 100_000  # of a file, aliases written out


class _Dumper(yaml.SafeDumper):
    """Quotes every text: `1e5`, `on` and `null` are texts then, for every reader of YAML."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
_Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True))


class _Key(str):
    """The name of an option, which needs no quotes."""


_Dumper.add_representer(_Key, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text)))


def options_text(options: Any) -> str:
    """Every option of a dataclass as YAML."""
    tree: dict[str, Any] = {}
    for name, value in values_of(options):
        *outer, last = map(_Key, name.split("."))
        branch = tree
        for part in outer:
            branch = branch.setdefault(part, {})
        branch[last] = _plain(value)
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _plain(value: Any) -> Any:
    """The value in the types that YAML writes."""
    if isinstance(value, Path):
        return str(value)
    return [_plain(member) for member in value] if isinstance(value, tuple) else value


def read_options(path: Path) -> dict[str, Any]:
    """The values of a YAML file of options by name; empty where it holds nothing. Raises UserError that names it."""
    text = read_text(path)
    try:
        content = yaml.safe_load(text)
        if _size(content, {}) > MOST_VALUES:
            raise UserError(f"holds more than {MOST_VALUES} values, aliases written out", path)
    except yaml.YAMLError as error:
        raise UserError(
            f"is not YAML ({' '.join(str(error).split())})", path, "expected lines of `NAME: VALUE`"
        ) from error
    except RecursionError as error:
        raise UserError("is nested too deeply, or holds itself", path, "expected lines of `NAME: VALUE`") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"holds {type(content).__name__} where options are expected", path, "expected `NAME: VALUE`")
    return content


def _size(content: Any, known: dict[int, int]) -> int:
    """Values in a tree whose branches may be shared: each branch is counted once and added as often as it occurs."""
    if not isinstance(content, (dict, list)):
        return 1
    if id(content) not in known:
        members: Iterable[Any] = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_size(member, known) for member in members)
    return known[id(content)]
