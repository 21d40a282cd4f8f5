"""Plots that accompany results. A failing plot never stops the program."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw

from utils.errors import UserError
from utils.fonts import font_for

SIZE = (720, 480)  # width, height
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 60, 50  # margins of the axes, pixels
INK, GRID, LINE = (25, 25, 25), (222, 222, 222), (31, 119, 180)
TEXT, TITLE = 14, 17  # pixels
FINER = 3  # lines are drawn this much larger and scaled down, for smooth edges


def line_chart(
    xs: Sequence[float], ys: Sequence[float], *, marked: float, title: str, x_label: str, y_label: str
) -> Image.Image:
    """Draw points joined by lines, with axes, and a vertical line at `marked`. Points of nan are left out.

    xs: increasing. Returns an RGB image. (matplotlib takes a second to import.)
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if not math.isnan(y)]
    x_ticks = ticks(min(xs), max(xs))
    y_ticks = ticks(min((y for _, y in points), default=0.0), max((y for _, y in points), default=0.0))

    def at(x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (SIZE[0] - LEFT - RIGHT), SIZE[1] - BOTTOM - up * (SIZE[1] - TOP - BOTTOM)

    image = Image.new("RGB", (FINER * SIZE[0], FINER * SIZE[1]), (255, 255, 255))
    draw = ImageDraw.Draw(image)

    def line(ends: Sequence[tuple[float, float]], color: tuple[int, int, int], width: int) -> None:
        draw.line([(FINER * x, FINER * y) for x, y in ends], color, width, joint="curve")

    for x in x_ticks:
        line([at(x, y_ticks[0]), at(x, y_ticks[-1])], GRID, FINER)
    for y in y_ticks:
        line([at(x_ticks[0], y), at(x_ticks[-1], y)], GRID, FINER)
    line([at(marked, y_ticks[0]), at(marked, y_ticks[-1])], INK, FINER)
    if points:
        line([at(*point) for point in points], LINE, 2 * FINER)
    for x, y in (at(*point) for point in points):
        draw.ellipse([FINER * (x - 4), FINER * (y - 4), FINER * (x + 4), FINER * (y + 4)], LINE)
    image = image.resize(SIZE, Image.Resampling.BOX)
    draw = ImageDraw.Draw(image)

    def write(position: tuple[float, float], text: str, anchor: str, size: int = TEXT) -> None:
        draw.text(position, text, INK, font_for(text, size), anchor=anchor)

    write((SIZE[0] / 2, 10), title, "ma", TITLE)
    write((SIZE[0] / 2, SIZE[1] - 8), x_label, "md")
    write((10, TOP - 12), y_label, "ld")
    for x in x_ticks:
        write((at(x, y_ticks[0])[0], SIZE[1] - BOTTOM + 6), f"{x:g}", "ma")
    for y in y_ticks:
        write((LEFT - 6, at(x_ticks[0], y)[1]), f"{y:g}", "rm")
    return image


def ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers, increasing, the first at most `low`, the last at least `high`."""
    if high <= low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next((factor for factor in (1, 2, 5) if factor * power >= rough), 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


@contextmanager
def only_drawing(path: Path) -> Iterator[None]:
    """Report errors of the block in one line and continue: the results are already written."""
    try:
        yield
    except UserError as error:
        print(f"not drawn: {error}", file=sys.stderr)
    except Exception as error:
        print(f"not drawn: {path}: {type(error).__name__}: {error}", file=sys.stderr)
