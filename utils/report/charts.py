"""Line charts as geometry: coordinates of ticks, lines and points, which the page's template draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40  # margins around the plot
MAX_DOTS = 40  # per line: more would hide it
COLORS = 6  # in the page's style sheet; further lines are dashed


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name and its points, sorted by x. color: index of the run or stage."""

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its position in the drawing, and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class DrawnLine:
    """A line in the drawing's coordinates. dots: (x, y, tooltip)."""

    name: str
    color: int
    dashed: bool
    path: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """A line chart of WIDTH x HEIGHT, ready to draw. summary: its content in words."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[DrawnLine]
    summary: str


def line_chart(title: str, lines: Sequence[Line], *, x_label: str, y_label: str, whole_x: bool = False) -> Chart | None:
    """Build a chart of the lines that have points; None if none has. The y axis starts at 0 unless a value is below.

    whole_x: x is an integer, so that ticks are only at integers.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_marks = [x for x in nice_ticks(min(xs), max(xs), count=6) if not whole_x or x == round(x)]
    y_marks = nice_ticks(min(0.0, *ys), max(ys), count=5)
    x_range = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 0.5, max(xs) + 0.5)
    y_range = (min(y_marks[0], *ys), max(y_marks[-1], *ys))

    def across(x: float) -> float:
        return round(LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM), 1)

    drawn = []
    for line in lines:
        places = [(across(x), down(y), f"{line.name}: {y:.4g} at {x_label} {x:g}") for x, y in line.points]
        path = " ".join(f"{x:g},{y:g}" for x, y, _ in places)
        color, dashed = line.color % COLORS, line.color >= COLORS
        drawn.append(DrawnLine(line.name, color, dashed, path, places if len(places) <= MAX_DOTS else places[-1:]))
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=[Tick(across(x), f"{x:g}") for x in x_marks if x_range[0] <= x <= x_range[1]],
        y_ticks=[Tick(down(y), f"{y:g}") for y in y_marks],
        lines=drawn,
        summary=f"{title}, {y_label} over {x_label}. " + " ".join(map(_in_words, lines)),
    )


def _in_words(line: Line) -> str:
    (first_x, first), (last_x, last) = line.points[0], line.points[-1]
    best_x, best = max(line.points, key=lambda point: point[1])
    return (
        f"{line.name}: from {first:.4g} at {first_x:g} to {last:.4g} at {last_x:g}, highest {best:.4g} at {best_x:g}."
    )


def nice_ticks(low: float, high: float, *, count: int) -> list[float]:
    """Return about `count` round numbers, 1, 2 or 5 times a power of ten apart, that enclose low..high."""
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"axis from {low} to {high}: expected finite ends, the lower one first")
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]
