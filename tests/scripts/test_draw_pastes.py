import numpy as np
from PIL import Image

from scripts.draw_pastes import DrawPastesOptions, run
from tests.small_bank import block, make_small_bank
from tests.small_training import make_training_data


def test_sheet_shows_images_with_and_without_an_object(tmp_path):
    data = make_training_data(tmp_path, count=3)
    bank = make_small_bank(tmp_path / "bank", [block(20, 20, color=(0, 0, 255), tag=1)], ("cat", "dog"))
    options = DrawPastesOptions(dataset=str(data), cda_bank=str(bank), count=3, out=str(tmp_path / "sheet.png"))
    with Image.open(run(options)) as picture:
        pixels = np.asarray(picture).astype(int)
    blue = (pixels[..., 2] > 240) & (pixels[..., :2].max(-1) < 30)
    left, right = np.split(blue, 2, axis=1)
    assert right.sum() > 1000 and not left.any()
