import math

import pytest

from utils.report.charts import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, line_chart, nice_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 43, [0, 10, 20, 30, 40, 50]),
        (-0.3, 0.9, [-0.5, 0, 0.5, 1.0]),
        (0, 0, [0, 0.2]),
        (0, 3e-5, [0, 1e-5, 2e-5, 3e-5]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert nice_ticks(low, high, count=5) == pytest.approx(ticks)


def test_an_axis_without_finite_ends_is_refused():
    with pytest.raises(ValueError, match="nan"):
        nice_ticks(0, math.nan, count=5)


def test_first_and_last_point_lie_on_the_edges_of_the_plot():
    chart = line_chart("t", [Line("exp", [(0, 0.0), (5, 50.0), (10, 100.0)])], x_label="epoch", y_label="loss")
    middle = f"{(LEFT + WIDTH - RIGHT) / 2:g},{(TOP + HEIGHT - BOTTOM) / 2:g}"
    assert chart.lines[0].path == f"{LEFT},{HEIGHT - BOTTOM} {middle} {WIDTH - RIGHT},{TOP}"
    assert [tick.text for tick in chart.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert "exp: from 0 at 0 to 100 at 10, highest 100 at 10." in chart.summary


def test_epochs_have_no_ticks_between_them():
    lines = [Line("exp", [(0, 1.0), (3, 2.0)])]
    texts = {whole: line_chart("t", lines, x_label="x", y_label="y", whole_x=whole).x_ticks for whole in (False, True)}
    assert [tick.text for tick in texts[True]] == ["0", "1", "2", "3"]
    assert "0.5" in [tick.text for tick in texts[False]]


def test_one_point_is_drawn_in_the_middle_and_no_point_is_no_chart():
    chart = line_chart("t", [Line("exp", [(0, 1.0)]), Line("none", [])], x_label="x", y_label="y")
    assert [line.name for line in chart.lines] == ["exp"]
    assert chart.lines[0].dots[0][0] == (LEFT + WIDTH - RIGHT) / 2
    assert line_chart("t", [Line("none", [])], x_label="x", y_label="y") is None


def test_more_runs_than_colours_are_dashed():
    lines = [Line(str(index), [(0, 1.0), (1, 2.0)], index) for index in range(COLORS + 1)]
    drawn = line_chart("t", lines, x_label="x", y_label="y").lines
    assert [(line.color, line.dashed) for line in (drawn[0], drawn[-1])] == [(0, False), (0, True)]
    assert not drawn[COLORS - 1].dashed
