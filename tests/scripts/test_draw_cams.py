import numpy as np
import pytest
from PIL import Image

from scripts import draw_cams
from tests.small_run import make_small_run
from utils import drawing as visual
from utils.cam.artefact import read_cam
from utils.config.options import DrawOptions
from utils.data.images import write_image, write_label_png
from utils.drawing import Cell
from utils.errors import UserError
from utils.report.pictures import spread


@pytest.fixture
def drawn(tmp_path):
    names = make_small_run(tmp_path)

    def draw(**more):
        options = {"label_dir": None, **names, "num_workers": 1, **more}
        return draw_cams.run(DrawOptions(**options))

    return tmp_path, draw


def test_every_image_gets_a_heat_map_a_tag_and_one_overlay(drawn):
    folder, draw = drawn
    page = draw()
    run = folder / "runs" / "exp"
    assert page == run / "contact_sheet.png" and page.is_file()
    assert sorted(p.name for p in (run / "ms" / "accu_att_zoom").iterdir()) == ["a_0.png", "b_0.png", "b_1.png"]
    assert sorted(p.name for p in (run / "ms" / "overlay").iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]
    heat = np.asarray(Image.open(run / "ms" / "accu_att_zoom" / "a_0.png"))
    np.testing.assert_array_equal(heat, visual.heat_map(read_cam(run / "cam" / "a.npz")[1][0]))


def test_max_images_bounds_what_is_drawn(drawn):
    folder, draw = drawn
    draw(max_images=1)
    assert len(list((folder / "runs" / "exp" / "ms" / "overlay").iterdir())) == 1


def test_kinds_that_are_not_there_are_left_out_with_a_note(drawn, capsys):
    folder, draw = drawn
    without = Image.open(draw()).width
    printed = capsys.readouterr().out
    assert "Sal (--sal_dir)" in printed and "pseudo_seg_labels_exp (--label_dir)" in printed
    assert "--mask_dir" not in printed
    write_image(folder / "toy" / "Sal" / "a.png", np.zeros((4, 6), np.uint8))
    write_label_png(folder / "labels" / "b.png", np.ones((4, 6), np.uint8))
    with_both = Image.open(draw(label_dir=str(folder / "labels"))).width
    assert with_both == without + 2 * (draw_cams.CELL[0] + visual.GAP)
    assert "skipped" not in capsys.readouterr().out


def test_a_run_without_cams_and_photos_of_another_size_are_errors_with_a_remedy(drawn):
    folder, draw = drawn
    with pytest.raises(UserError, match=r"other/cam: .*test_l2g\.py --experiment_name other"):
        draw(experiment_name="other")
    with pytest.raises(UserError, match="--mask_dir"):
        draw(mask_dir="nowhere")
    write_image(folder / "toy" / "JPEGImages" / "b.jpg", np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(UserError, match=r"b\.npz: .*6x4.*b\.jpg .*6x8.*--image_dir"):
        draw()


def test_spread_takes_names_from_the_whole_list():
    names = [str(i) for i in range(10)]
    assert spread(names, 5) == ["0", "2", "4", "6", "8"]
    assert spread(names, 99) == names


def test_more_cams_than_columns_are_told():
    cells = [Cell(None, name) for name in "abcde"]
    assert [c.caption for c in draw_cams.padded(cells, 3, "")] == ["a", "b", "c (and 2 more)"]
    assert [c.caption for c in draw_cams.padded([], 1, "no mask")] == ["no mask"]


def test_two_images_stand_in_a_row_where_they_are_many(drawn, monkeypatch):
    _, draw = drawn
    single = Image.open(draw())
    width, height = single.size
    monkeypatch.setattr(draw_cams, "MANY", 2)
    double = Image.open(draw())
    assert double.width == 2 * width - visual.GAP and double.height < height
