"""Packages that only some commands need."""

import importlib
import importlib.util
import sys
from types import ModuleType

from utils.errors import UserError


def optional_module(module: str, install: str, note: str = "") -> ModuleType:
    """An installed extra. Raises UserError that says how to install it: `pip install INSTALL`, and the note."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"cannot be imported ({error})", module, remedy=f"run `pip install {install}`{note}") from error


def is_installed(module: str) -> bool:
    """Whether the extra can be imported, by its name alone."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None
