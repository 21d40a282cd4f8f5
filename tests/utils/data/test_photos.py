"""Photographs of every format are converted to upright RGB, and the changes are reported."""

import sys

import numpy as np
import pytest
from PIL import Image

from utils.data.photos import (
    COLOURS,
    FIRST_FRAME,
    FORMAT,
    SCALED,
    SIXTEEN_BIT,
    TRANSPARENT,
    TURNED,
    is_plain,
    plain_suffix,
    read_photo,
)
from utils.errors import UserError

RED = (200, 30, 40)


def close_to(image, color, tolerance=6):
    return np.abs(np.asarray(image, int) - np.array(color)).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("a.jpg", ()), ("a.png", ()), ("a.webp", (FORMAT,)), ("a.tif", (FORMAT,)), ("a.bmp", (FORMAT,)),
        ("a.gif", (FORMAT,)), ("a.jp2", (FORMAT,)), ("a.jfif", (FORMAT,)), ("a.avif", (FORMAT,)),
    ],
)  # fmt: skip
def test_every_format_gives_its_colour(tmp_path, name, changes):
    Image.new("RGB", (16, 12), RED).save(tmp_path / name)
    photo = read_photo(tmp_path / name)
    assert photo.image.mode == "RGB" and photo.image.size == (16, 12) and close_to(photo.image, RED, 12)
    assert photo.changes == changes
    assert is_plain(tmp_path / name) == (not changes)


def test_content_decides_and_not_the_suffix(tmp_path):
    Image.new("RGB", (4, 3), RED).save(tmp_path / "a.jpg", "WEBP", lossless=True)
    assert read_photo(tmp_path / "a.jpg").changes == (FORMAT,) and not is_plain(tmp_path / "a.jpg")


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    Image.fromarray(np.full((3, 4), 257 * 100, np.uint16)).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert close_to(photo.image, 100, 0) and photo.changes == (SIXTEEN_BIT,)


def test_a_tiff_of_three_sixteen_bit_channels_is_read(tmp_path):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.tiff"), np.full((3, 4, 3), [257 * 40, 257 * 30, 257 * 200], np.uint16))
    assert close_to(read_photo(tmp_path / "a.tiff").image, (200, 30, 40), 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_white_and_said(tmp_path, mode):
    image = Image.new("RGBA", (4, 3), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 3))
    image.convert(mode).save(tmp_path / "a.png", **({"transparency": 0} if mode == "P" else {}))
    photo = read_photo(tmp_path / "a.png")
    assert photo.image.getpixel((3, 0)) == (255, 255, 255)
    assert TRANSPARENT in photo.changes


def test_an_alpha_channel_that_hides_nothing_is_no_transparency(tmp_path):
    Image.new("RGBA", (4, 3), (*RED, 255)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").changes == (COLOURS,)


def test_cmyk_is_converted_and_turned_photos_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("CMYK", (16, 12), (0, 200, 200, 0)).save(tmp_path / "a.jpg", exif=exif)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.image.size == (12, 16) and photo.image.getpixel((5, 5))[0] > 200
    assert set(photo.changes) == {TURNED, COLOURS}


def test_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "a.gif")
    assert photo.image.getpixel((0, 0)) == (255, 0, 0) and FIRST_FRAME in photo.changes


def test_large_photos_are_scaled_to_their_longer_side(tmp_path):
    Image.new("RGB", (100, 50)).save(tmp_path / "a.jpg")
    photo = read_photo(tmp_path / "a.jpg", max_side=40)
    assert photo.image.size == (40, 20) and photo.changes == (SCALED,)
    assert read_photo(tmp_path / "a.jpg", max_side=100).changes == ()


def test_heic_names_its_package_where_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.HEIC").write_bytes(b"x")
    with pytest.raises(UserError, match="`pip install pillow-heif`"):
        read_photo(tmp_path / "a.HEIC")


def test_heic_is_read_by_pillow_heif(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install pillow-heif")
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(tmp_path / "a.heic", quality=90)
    photo = read_photo(tmp_path / "a.heic")
    assert photo.image.size == (64, 48) and close_to(photo.image, RED, 12) and FORMAT in photo.changes


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.jpg"):
        read_photo(tmp_path / "a.jpg")


def test_what_stays_keeps_its_suffix(tmp_path):
    assert plain_suffix(tmp_path / "a.JPG", ()) == ".jpg"
    assert plain_suffix(tmp_path / "a.PNG", (TURNED,)) == ".png"
    assert plain_suffix(tmp_path / "a.webp", (FORMAT,)) == ".jpg"
