"""Plots that accompany results. A failing plot never stops the program."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure() -> "tuple[Figure, Axes]":
    """Create a figure with one plot for files, regardless of the configured backend, such as a notebook's."""
    os.environ["MPLBACKEND"] = "agg"  # matplotlib reads it on import and rejects unknown backends
    from matplotlib.figure import Figure  # not at the top: it takes a second, and few programs draw

    figure = Figure(figsize=(6, 4), layout="constrained")
    return figure, figure.add_subplot()


@contextmanager
def only_drawing(path: Path) -> Iterator[None]:
    """Report errors of the block in one line and continue: the results are already written."""
    try:
        yield
    except UserError as error:
        print(f"not drawn: {error}", file=sys.stderr)
    except Exception as error:
        print(f"not drawn: {path}: {type(error).__name__}: {error}", file=sys.stderr)
