import math

import numpy as np
import pytest

from utils.plotting import BOTTOM, LEFT, LINE, RIGHT, SIZE, TOP, line_chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.05, 0.75, [0, 0.2, 0.4, 0.6, 0.8]),
        (31.9, 52.1, [30, 35, 40, 45, 50, 55]),
        (0.0, 100.0, [0, 20, 40, 60, 80, 100]),
        (7.0, 7.0, [6.4, 6.6, 6.8, 7, 7.2, 7.4, 7.6]),
        (0.1, 0.3, [0.1, 0.15, 0.2, 0.25, 0.3]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, expected):
    assert ticks(low, high) == expected


def chart(xs, ys):
    drawn = line_chart(xs, ys, marked=xs[0], title="a title", x_label="x", y_label="y")
    assert drawn.size == SIZE
    return np.abs(np.asarray(drawn, int) - LINE).sum(axis=2) < 20


def test_points_lie_where_the_axes_say():
    """0..1 in both directions: the point of (0.5, 1) is at the middle of the upper edge."""
    seen = chart([0.0, 0.5, 1.0], [0.0, 1.0, 0.0])
    assert seen[TOP, (LEFT + SIZE[0] - RIGHT) // 2]
    assert seen[SIZE[1] - BOTTOM - 2, LEFT + 1] and not seen[TOP, LEFT]


def test_unknown_values_are_left_out():
    seen = chart([0.1, 0.2, 0.3], [math.nan, 1.0, 2.0])
    assert not seen[:, : LEFT + 100].any() and seen.any()
    assert not chart([0.1, 0.2], [math.nan, math.nan]).any()


def test_one_point_is_drawn():
    assert chart([0.3], [40.0]).any()
