import numpy as np

from scripts.foreground_sheet import ACROSS, CELL, WITHHELD, bank_sheet, pasted_part
from utils import drawing as visual
from utils.copy_paste.bank import SALIENT, Foreground, ForegroundBank, write_foreground, write_index


def example(source="a"):
    mask = np.zeros((2, 3), bool)
    mask[:, :2] = True
    saliency = np.array([[SALIENT + 1, SALIENT, 255]] * 2, np.uint8)
    return Foreground(np.full((2, 3, 3), 100, np.uint8), mask, saliency, 0, source)


def test_only_what_is_pasted_keeps_its_colors():
    kept, withheld, outside = pasted_part(example())[0].astype(int)
    assert (kept == 100).all()
    assert np.allclose(withheld, (100 + np.array(WITHHELD)) / 2, atol=1)
    assert (outside > 200).all()


def test_sheet_has_a_row_a_class_and_no_more_than_fit(tmp_path):
    entries = [write_foreground(tmp_path, example(f"{i:02d}"), "cat", agreement=1) for i in range(ACROSS + 3)]
    write_index(tmp_path, entries)
    page = bank_sheet(ForegroundBank.open(tmp_path, ("cat", "dog")), title="t")
    assert page.width == visual.GAP + (ACROSS + 1) * (CELL[0] + visual.GAP)
    assert page.height < 2 * CELL[1] + 100
