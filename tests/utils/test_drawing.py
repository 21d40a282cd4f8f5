import numpy as np
import pytest

from utils import drawing as visual
from utils.drawing import Cell
from utils.fonts import font_for


def picture(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


def test_heat_map_goes_from_blue_to_red_in_rgb():
    low, middle, high = visual.heat_map(np.array([[0, 128, 255]], dtype=np.uint8))[0].tolist()
    assert low[2] > 100 and low[:2] == [0, 0]
    assert middle[1] > 200
    assert high[0] > 100 and high[1:] == [0, 0]


def test_overlay_blends_and_refuses_another_size():
    assert (visual.overlay(picture(2, 3, 100), picture(2, 3, 200)) == 150).all()
    with pytest.raises(ValueError, match=r"\(2, 3, 3\).*\(3, 2, 3\)"):
        visual.overlay(picture(2, 3, 0), picture(3, 2, 0))


def test_label_colors_are_those_of_voc_and_background_shows_the_photo():
    label = np.array([[0, 1, 15, 255]], dtype=np.uint8)
    assert visual.color_label(label)[0].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    mixed = visual.overlay_label(picture(1, 4, 100), label)
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert mixed[0, 1, 0] > 100 > mixed[0, 1, 1]


def test_fit_keeps_the_shape_of_the_picture_and_the_colors_of_a_label():
    cell = np.asarray(visual.fit(picture(10, 40, 7), (60, 30)))
    assert cell.shape == (30, 60, 3)
    inside = (cell == 7).all(axis=2)
    assert inside.sum() == 60 * 15 and inside[15].all()
    label = visual.color_label(np.array([[0, 1], [1, 0]], dtype=np.uint8))
    cell = np.asarray(visual.fit(label, (30, 30), is_label=True))
    assert len(np.unique(cell.reshape(-1, 3), axis=0)) == 2


def test_long_captions_are_cut_to_the_cell():
    text = visual.shortened("aeroplane, bicycle, bird, boat, bottle, bus", 120)
    assert text.endswith("...") and text.startswith("aeroplane")
    assert font_for(text, visual.TEXT).getlength(text) <= 120
    assert visual.shortened("cat", 120) == "cat"


def test_sheet_has_room_for_all_cells_and_every_legend_color():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    legend = [(f"class number {i}", color) for i, color in enumerate(colors)]
    rows = [[Cell(picture(5, 5, 40), "one"), Cell(None, "none")], [Cell(picture(9, 5, 80), "two")]]
    page = visual.sheet(rows, cell_size=(100, 60), columns=("a", "b"), title="t", notes=["n"], legend=legend)
    pixels = np.asarray(page)
    assert pixels.shape[1] == 2 * 100 + 3 * visual.GAP
    for value, shape in ((40, (60, 60)), (80, (33, 60))):
        assert (pixels == value).all(axis=2).sum() == pytest.approx(shape[0] * shape[1], rel=0.05)
    for color in colors:  # three entries do not fit in one line of 212 pixels
        assert (pixels == color).all(axis=2).sum() > 100
    bare = visual.sheet(rows[:1], cell_size=(100, 60))
    assert bare.height < page.height


def test_letters_without_a_font_are_said_on_the_sheet():
    known = visual.sheet([[Cell(picture(5, 5, 40), "café")]], cell_size=(100, 60))
    unknown = visual.sheet([[Cell(picture(5, 5, 40), "caf\uffff")]], cell_size=(100, 60))
    assert unknown.height == known.height + visual.LINE
