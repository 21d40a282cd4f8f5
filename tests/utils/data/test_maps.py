"""Every pixel format of PNG as a saliency map and as a label map: the value that is read, or an error."""

import numpy as np
import pytest
from PIL import Image

from utils.data.images import decode, decode_with_bits, read_gray, read_label, write_label_png
from utils.data.maps import CUT_OUT, REMAPPED, label_of, saliency_of
from utils.data.palette import PALETTE
from utils.errors import UserError

LABEL = np.array([[0, 1, 2], [15, 255, 0]], np.uint8)


def save(path, image, **options):
    image.save(path, **options)
    return path


def grey_png(path, values, bits):
    """A grey PNG with few bits per pixel, which Pillow cannot write."""
    import struct
    import zlib

    height, width = values.shape
    rows = b""
    for row in values:
        packed = "".join(format(value, f"0{bits}b") for value in row).ljust(8 * -(-width * bits // 8), "0")
        rows += b"\0" + bytes(int(packed[i : i + 8], 2) for i in range(0, len(packed), 8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_labels_of_few_bits_hold_their_indices(tmp_path, bits):
    values = (np.arange(6).reshape(2, 3) % 2**bits).astype(np.uint8)
    np.testing.assert_array_equal(read_label(grey_png(tmp_path / "a.png", values, bits)), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_saliency_of_few_bits_spans_black_to_white(tmp_path, bits):
    values = np.array([[0, 2**bits - 1]], np.uint8)
    assert np.asarray(read_gray(grey_png(tmp_path / "a.png", values, bits))).tolist() == [[0, 255]]


def test_sixteen_bits_are_scaled_as_saliency_and_taken_as_indices(tmp_path):
    save(tmp_path / "s.png", Image.fromarray(np.array([[0, 65535]], np.uint16)))
    save(tmp_path / "l.png", Image.fromarray(LABEL.astype(np.uint16)))
    assert np.asarray(read_gray(tmp_path / "s.png")).tolist() == [[0, 255]]
    np.testing.assert_array_equal(read_label(tmp_path / "l.png"), LABEL)
    with pytest.raises(UserError, match="65535"):
        read_label(tmp_path / "s.png")


def test_vocs_palette_in_another_order_is_mapped_back(tmp_path):
    write_label_png(tmp_path / "a.png", LABEL)
    with Image.open(tmp_path / "a.png") as image:
        other = image.convert("RGB").quantize(8)
    save(tmp_path / "b.png", other)
    assert not np.array_equal(np.asarray(other), LABEL)  # the indices did change
    values, reading = label_of(*(decode(tmp_path / "b.png"), tmp_path / "b.png"))
    np.testing.assert_array_equal(values, LABEL)
    assert reading == REMAPPED
    assert label_of(decode(tmp_path / "a.png"), tmp_path / "a.png")[1] is None


def with_palette(colors, label):
    image = Image.fromarray(label)
    image.putpalette([value for color in colors for value in color])
    return image


@pytest.mark.parametrize(
    "colors",
    [
        [(0, 0, 0), (255, 0, 0), (0, 255, 0)],  # a tool's own colours
        [(value, value, value) for value in range(256)],
        [(255, 255, 255), (10, 20, 30), (99, 0, 99)],
        [tuple(color) for color in PALETTE[:3].tolist()],
    ],
)
def test_other_palettes_leave_the_indices_alone(tmp_path, colors):
    label = np.array([[0, 1, 2]], np.uint8)
    save(tmp_path / "a.png", with_palette(colors, label))
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), label)


def test_a_palette_that_contradicts_the_indices_is_refused(tmp_path):
    save(tmp_path / "a.png", with_palette([(250, 10, 10), (0, 0, 0), (7, 99, 7)], np.array([[0, 1, 2]], np.uint8)))
    with pytest.raises(UserError, match="palette"):
        read_label(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_and_alpha_are_no_labels(tmp_path, mode):
    save(tmp_path / "a.png", Image.new(mode, (3, 2)))
    with pytest.raises(UserError, match=mode):
        read_label(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_cut_outs_alpha_is_the_saliency(tmp_path, mode):
    image = Image.new("RGBA", (4, 2), (200, 40, 90, 0))
    image.paste((30, 30, 30, 255), (0, 0, 2, 2))
    save(tmp_path / "a.png", image.convert(mode))
    values, reading = saliency_of(decode(tmp_path / "a.png"), tmp_path / "a.png")
    assert values.tolist() == [[255, 255, 0, 0]] * 2 and reading == CUT_OUT


def test_grey_in_three_channels_and_under_a_full_alpha_is_grey(tmp_path):
    for mode in ("RGB", "RGBA", "LA", "P"):
        save(tmp_path / "a.png", Image.new("L", (3, 2), 90).convert(mode))
        assert np.asarray(read_gray(tmp_path / "a.png")).tolist() == [[90] * 3] * 2


def test_colour_heat_maps_are_refused(tmp_path):
    values = np.zeros((4, 4, 3), np.uint8)
    values[:2, :, 0], values[2:, :, 2] = 200, 200
    for image in (Image.fromarray(values), Image.fromarray(values).quantize(4)):
        save(tmp_path / "a.png", image)
        with pytest.raises(UserError, match="colour"):
            read_gray(tmp_path / "a.png")


def test_the_raw_mode_tells_the_bits(tmp_path):
    assert decode_with_bits(grey_png(tmp_path / "a.png", np.zeros((1, 2), np.uint8), 4))[1] == "L;4"
