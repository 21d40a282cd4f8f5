"""Labels of other programs are converted to a label folder."""

import json

import numpy as np
import pytest
from PIL import Image

from scripts import import_labels
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.config.options.labels import ImportLabelsOptions
from utils.data.images import read_label, write_image
from utils.data.palette import PALETTE
from utils.errors import UserError


@pytest.fixture
def imported(tmp_path):
    """Import labels[name] for the images a, b, c of the small dataset. Returns the folder."""
    data = make_small_run(tmp_path)["dataset"]

    def make(labels, **options):
        for name, label in labels.items():
            write_image(tmp_path / "theirs" / f"{name}.png", label)
        given = {"labels": str(tmp_path / "theirs"), "out": str(tmp_path / "out"), "dataset": data, "num_workers": 1}
        return import_labels.run(ImportLabelsOptions(**{**given, **options}))

    return make


def labels():
    values = np.random.default_rng(0).choice([0, 1, 2, 255], (3, HEIGHT, WIDTH)).astype(np.uint8)
    return dict(zip("abc", values, strict=True))


@pytest.mark.parametrize("form", ["grey", "colours"])
def test_grey_and_coloured_labels_come_out_with_the_palette(imported, form):
    folder = imported({n: PALETTE[v] if form == "colours" else v for n, v in labels().items()})
    for name, values in labels().items():
        assert Image.open(folder / f"{name}.png").mode == "P"
        np.testing.assert_array_equal(read_label(folder / f"{name}.png"), values)
    assert json.loads((folder / "label_settings.json").read_text())["imported"].endswith("theirs")


def test_sizes_and_names_are_converted_on_request(imported):
    small = {f"{name}_seg": values[::2, ::2] for name, values in labels().items()}
    with pytest.raises(UserError, match="--resize"):
        imported(small, file_name="{name}_seg.png")
    folder = imported(small, file_name="{name}_seg.png", resize=True, overwrite=True)
    assert read_label(folder / "a.png").shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("value", [3, (1, 2, 3)])
def test_values_that_are_no_class_are_refused(imported, value):
    shape = (HEIGHT, WIDTH, 3) if isinstance(value, tuple) else (HEIGHT, WIDTH)
    with pytest.raises(UserError) as raised:
        imported({**labels(), "a": np.full(shape, value, np.uint8)})
    assert raised.value.where.endswith("a.png")
