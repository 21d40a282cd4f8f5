import numpy as np
import pytest
from PIL import Image

from utils.data.images import (
    find_image,
    image_files,
    image_or_guess,
    open_complete,
    read_gray,
    read_label,
    read_rgb,
    read_rgba,
    write_image,
    write_label_png,
)
from utils.errors import UserError


def test_label_png_keeps_indices_and_has_the_palette(tmp_path):
    label = np.array([[0, 1, 20], [21, 254, 255]], np.uint8)
    write_label_png(tmp_path / "a.png", label)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), label)
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "P"
    colours = np.asarray(image.convert("RGB"))
    assert colours[0].tolist() == [[0, 0, 0], [128, 0, 0], [0, 64, 128]]  # background, aeroplane, tvmonitor
    assert colours[1, 2].tolist() == [224, 224, 192]  # the border colour of VOC


def test_grey_mask_is_read_and_coloured_mask_refused(tmp_path):
    write_image(tmp_path / "grey.png", np.array([[0, 7]], np.uint8))
    assert read_label(tmp_path / "grey.png").tolist() == [[0, 7]]
    write_image(tmp_path / "rgb.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"rgb\.png: .*RGB"):
        read_label(tmp_path / "rgb.png")


@pytest.mark.parametrize("label", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8)])
def test_label_of_another_kind_is_not_written(tmp_path, label):
    with pytest.raises(ValueError, match=label.dtype.name):
        write_label_png(tmp_path / "a.png", label)
    assert not list(tmp_path.iterdir())


def test_photographs_are_rgb_whatever_their_mode(tmp_path):
    write_image(tmp_path / "grey.png", np.full((2, 3), 9, np.uint8))
    assert np.asarray(read_rgb(tmp_path / "grey.png")).tolist() == [[[9] * 3] * 3] * 2
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    write_image(tmp_path / "red.png", red)
    assert read_rgb(tmp_path / "red.png").getpixel((0, 0)) == (255, 0, 0)
    assert read_gray(tmp_path / "grey.png").mode == "L"


@pytest.mark.parametrize("read", [read_rgb, read_gray, read_label])
def test_broken_file_is_named(tmp_path, read):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(UserError, match=r"broken\.png"):
        read(tmp_path / "broken.png")
    with pytest.raises(UserError, match=r"none\.png"):
        read(tmp_path / "none.png")


def test_truncated_file_is_named(tmp_path):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "a.jpg", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    with pytest.raises(UserError, match=r"a\.jpg"):
        read_rgb(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_file_that_is_cut_short_is_found_by_its_end(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    assert open_complete(path).size == (64, 64)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 99)  # as some cameras do
    assert open_complete(path).size == (64, 64)
    if name != "a.webp":  # its header states the length, so Pillow finds it without help
        for kept in (len(whole) - 30, len(whole) // 2):
            path.write_bytes(whole[:kept])
            with pytest.raises(UserError, match=name):
                open_complete(path)


def test_image_is_found_whatever_its_suffix(tmp_path):
    (tmp_path / "a.b.JPEG").touch()
    assert find_image(tmp_path, "a.b").name == "a.b.JPEG"
    with pytest.raises(UserError, match="none"):
        find_image(tmp_path, "none")


def test_missing_image_has_the_name_it_would_usually_have(tmp_path):
    (tmp_path / "a.png").touch()
    assert image_or_guess(tmp_path, "a").name == "a.png"
    assert image_or_guess(tmp_path, "b").name == "b.jpg"
    assert image_or_guess(tmp_path, "b", suffix=".png").name == "b.png"


def test_alpha_is_read_back_whatever_the_compression(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    for level in (None, 0, 9):
        write_image(tmp_path / "a.png", pixels, compress_level=level)
        assert np.array_equal(read_rgba(tmp_path / "a.png"), pixels)
    write_image(tmp_path / "b.png", pixels[..., :3])
    with pytest.raises(UserError, match=r"b\.png: .*RGBA"):
        read_rgba(tmp_path / "b.png")


def test_a_look_at_a_folder_finds_what_find_image_finds(tmp_path):
    for name in ("a.png", "a.jpg", "b.JPEG", "c.d.png"):
        write_image(tmp_path / name, np.zeros((2, 2), np.uint8))
    for name in ("notes.txt", ".hidden.png", "e.webp"):
        (tmp_path / name).write_text("")
    found = image_files(tmp_path)
    assert found == {name: find_image(tmp_path, name) for name in ("a", "b", "c.d")}
    assert found["a"].suffix == ".jpg"
