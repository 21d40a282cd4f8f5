"""Parses the tags in a table's cell, as written by people and programs: `cat;dog`, `['cat', 'dog']`, JSON."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from utils.data.catalog import NO_CLASSES
from utils.data.class_names import spelling_key

UNKNOWN = "?"
SEPARATORS = (";", "|", ",", "；", "｜", "，", "、", "؛", "،")  # between tags, also as other scripts write them
BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]")  # separate tags wherever they occur
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_SYNTAX = re.compile(r"[\[\]{}<>=\"\\/`]|^'.*'$|^\W+$")
# what programs write for an empty cell; ambiguous: none of the classes, or unknown tags
NO_VALUES = ("nan", "none", "null", "n/a", "na", "<na>", "#n/a", "undefined")
_KEYS_OF_TAGS = re.compile(r".*(choices?|labels?|tags?|class(es)?|categor(y|ies)|text)$", re.IGNORECASE)


def tidy(tag: str) -> str:
    return " ".join(tag.split())


def tag_problem(tag: str) -> str | None:
    """Return why a tag cannot be a class name; None if it can."""
    if tag.lower() in NO_VALUES:
        return f"{tag!r} (leave the cell empty if the photo shows none of the classes, or write ? if that is unknown)"
    if tag.lower().strip("_") in NO_CLASSES:
        return f"{tag!r} (stands for no class: omit it)"
    if "/" in tag or "\\" in tag:
        return f"{tag!r} (classes are also folder names: write it without the slash)"
    if _SYNTAX.search(tag):
        return f"{tag!r} (looks like syntax, not like a name)"
    return None


def separators_of(cells: Iterable[str], given: str | None) -> tuple[str, ...]:
    """Return the separators of tags in plain cells: the given one, else those of `;`, `|` and `,` that occur."""
    if given is not None:
        return (given,)
    plain = [cell for cell in cells if items_of(cell) is None]
    return tuple(mark for mark in SEPARATORS if any(mark in cell for cell in plain))


def split_cell(cell: str, separators: Sequence[str]) -> tuple[str, ...]:
    """Return the tidied tags of a cell in order. Lists and JSON are parsed by their own rules."""
    items = items_of(cell)
    if items is None:
        items = BREAKS.split(cell)
        for mark in separators:
            items = [part for item in items for part in item.split(mark)]
    return tuple(dict.fromkeys(tag for item in items if (tag := tidy(item))))


def items_of(cell: str) -> list[str] | None:
    """Return the items of a Python, numpy or JSON list, or of a labelling tool's choices; None for plain text."""
    cell = cell.strip()
    if cell[:1] + cell[-1:] not in ("[]", "{}", "()") or len(cell) < 2:
        return None
    try:
        found = _tags_in_json(json.loads(cell))
        if found is not None:
            return found
    except ValueError:
        pass
    inside = cell[1:-1]
    if not _QUOTED.search(inside):
        return inside.split(",") if cell[0] == "[" or not inside.strip() else None
    if re.sub(r"[\s,]", "", _QUOTED.sub("", inside)):
        return None  # more than quoted items: kept as it is, and refused later as a name
    return [re.sub(r"\\(.)", r"\1", one or other) for one, other in _QUOTED.findall(inside)]


def _tags_in_json(value: Any) -> list[str] | None:
    """Return the strings of a JSON list, or of an object's entries whose key is choices, labels or tags."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, list):
        parts = [_tags_in_json(item) for item in value]
    elif isinstance(value, dict):
        parts = [_tags_in_json(item) for key, item in value.items() if _KEYS_OF_TAGS.match(key)]
        if not parts:
            return None
    else:
        return None
    if any(part is None for part in parts):
        return None
    return [tag for part in parts if part is not None for tag in part]


def merged_names(tags: Iterable[str], known: Sequence[str] = ()) -> dict[str, str]:
    """Map spellings of one name (see spelling_key) to a single one: the known one, else the most frequent."""
    counts = Counter(tags)
    groups: dict[str, list[str]] = {}
    for tag in sorted(counts):
        groups.setdefault(spelling_key(tag), []).append(tag)
    names = {}
    for group in groups.values():
        own = [name for name in known if spelling_key(name) == spelling_key(group[0])]
        chosen = own[0] if own else max(group, key=lambda tag: (counts[tag], tag.islower()))
        names.update(dict.fromkeys(group, chosen))
    return names


def made_of_others(tags: Iterable[str]) -> dict[str, list[str]]:
    """Map each tag all of whose words are tags themselves to those: `cat dog` where cat and dog are tags, too."""
    known = {spelling_key(tag): tag for tag in tags}
    result = {}
    for key, tag in known.items():
        words = [word for part in re.split(r"[\W_]+", tag) if (word := spelling_key(part))]
        if len(words) > 1 and all(word in known and word != key for word in words):
            result[tag] = [known[word] for word in words]
    return result
