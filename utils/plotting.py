"""Figures that accompany results: they never stop the work whose results they show."""

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
    """A figure of one plot, drawn into files whatever backend the surroundings have chosen, e.g. a notebook's."""
    os.environ["MPLBACKEND"] = "agg"  # matplotlib reads it when it is imported, and refuses what it does not know
    from matplotlib.figure import Figure  # here: it takes a second, and only few programs draw

    figure = Figure(figsize=(6, 4), layout="constrained")
    return figure, figure.add_subplot()


@contextmanager
def only_drawing(path: Path) -> Iterator[None]:
    """Within it, what fails is reported in one line and nothing else: the results are written already."""
    try:
        yield
    except UserError as error:
        print(f"not drawn: {error}", file=sys.stderr)
    except Exception as error:
        print(f"not drawn: {path}: {type(error).__name__}: {error}", file=sys.stderr)
