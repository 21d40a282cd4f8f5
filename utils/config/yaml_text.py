"""Options as YAML text that reads back as the same options, whatever the texts among them."""

from pathlib import Path
from typing import Any

import yaml

from utils.config.fields import values_of


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
