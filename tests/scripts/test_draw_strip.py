"""The strips of the README: images chosen by a rule, a column per image, a row per kind of picture."""

import numpy as np
import pytest
from PIL import Image

from scripts import draw_strip
from scripts.draw_strip import strip
from tests.report_run import make_long_run
from utils.config.options.draw import StripOptions
from utils.errors import UserError


def column(color, shape=(40, 60), **pictures):
    photo = np.full((*shape, 3), color, np.uint8)
    return "cat", {"photo": photo, **{title: photo // 2 for title in pictures}}


def test_a_strip_has_the_width_asked_for_whatever_the_photos_shapes():
    page = strip([column(200), column(100, (60, 40))], width=600)
    assert page.size[0] == 600
    pixels = np.asarray(page)
    assert (pixels == 200).all(axis=2).any() and (pixels == 100).all(axis=2).any()


def test_a_kind_that_one_image_lacks_is_left_empty():
    rows = [strip([column(200, CAM=1), column(100, **pictures)], width=600).size[1] for pictures in ({"CAM": 1}, {})]
    assert rows[0] == rows[1]


def test_a_run_is_drawn_with_one_image_per_class_or_those_that_are_named(tmp_path, capsys):
    options = make_long_run(tmp_path, 6, classes=("cat", "dog"))
    out = tmp_path / "strip.jpg"
    draw_strip.run(StripOptions(**options, out=str(out)))
    assert Image.open(out).size[0] == StripOptions.width
    name = sorted(path.stem for path in (tmp_path / "runs").glob("*/cam/*.npz"))[0]
    draw_strip.run(StripOptions(**options, out=str(out), names=(name,)))
    assert "1 images" in capsys.readouterr().out
    with pytest.raises(UserError, match="nobody"):
        draw_strip.run(StripOptions(**options, out=str(out), names=("nobody",)))
