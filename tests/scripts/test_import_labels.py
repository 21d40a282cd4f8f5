"""Labels of other programs are converted to a label folder."""

import json

import numpy as np
import pytest
from PIL import Image

from scripts import export_labels, import_labels
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.config.options.labels import ExportLabelsOptions, ImportLabelsOptions
from utils.data.images import read_label, write_image, write_label_png
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


def test_palettes_in_another_order_are_read_by_their_colours(imported):
    folder = imported({name: Image.fromarray(PALETTE[label]).quantize(8) for name, label in labels().items()})
    for name, label in labels().items():
        np.testing.assert_array_equal(read_label(folder / f"{name}.png"), label)


@pytest.mark.parametrize(("form", "given"), [("cvat", "annotations.xml"), ("coco", "instances.json"), ("labelme", "")])
def test_corrected_annotations_come_back_with_a_list_of_those_that_differ(tmp_path, form, given):
    data, rng = tmp_path / "toy", np.random.default_rng(0)
    for name in "abc":
        write_image(data / "JPEGImages" / f"{name}.png", rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        label = np.zeros((30, 40), np.uint8)
        label[5:20, 5:25], label[0, 0] = 1, 255
        write_label_png(tmp_path / "pseudo" / f"{name}.png", label)
        label[5:20, 5:25] = 2 if name == "b" else 1
        write_label_png(tmp_path / "drawn" / f"{name}.png", label)
    (data / "classes.txt").write_text("cat\ndog\n")
    (data / "train_cls.txt").write_text("a 0\nb 1\nc 0\n")
    (tmp_path / "drawn" / "c.png").unlink()
    common = {"dataset": str(data), "num_workers": 1}
    more = {"label_dir": str(tmp_path / "drawn"), "out": str(tmp_path / form)}
    export_labels.run(ExportLabelsOptions(format=form, **common, **more))
    options = common | {"labels": str(tmp_path / form / given), "out": str(tmp_path / "back")}
    with pytest.raises(UserError, match=r"2 of 3 .*--others"):
        import_labels.run(ImportLabelsOptions(**options))
    folder = import_labels.run(ImportLabelsOptions(**options, others=str(tmp_path / "pseudo")))
    assert (folder / "corrected.txt").read_text().split() == ["b"]
    for name in "ac":
        assert (read_label(folder / f"{name}.png") == read_label(tmp_path / "pseudo" / f"{name}.png")).all()
    label = read_label(folder / "b.png")
    assert (label[5:20, 5:25] == 2).all() and np.count_nonzero(label) == 300


SQUARE = [[2, 2, 20, 2, 20, 20, 2, 20]]


@pytest.mark.parametrize(
    ("files", "more", "words"),
    [
        (("x/a.jpg", "y/a.jpg"), {}, "both image a"),
        (("a.jpg", "b.jpg"), {"segmentation": [], "bbox": [1, 1, 5, 5]}, "boxes"),
    ],
)
def test_annotations_that_give_no_label_of_an_image_are_refused(tmp_path, files, more, words):
    data = make_small_run(tmp_path)["dataset"]
    annotation = {"category_id": 1, "segmentation": SQUARE, **more}
    content = {
        "categories": [{"id": 1, "name": (tmp_path / data / "classes.txt").read_text().split()[0]}],
        "images": [{"id": n, "file_name": file, "height": HEIGHT, "width": WIDTH} for n, file in enumerate(files)],
        "annotations": [{"id": n, "image_id": n, **annotation} for n in range(len(files))],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    given = {"labels": str(tmp_path / "a.json"), "out": str(tmp_path / "out"), "dataset": data, "num_workers": 1}
    with pytest.raises(UserError, match=words):
        import_labels.run(ImportLabelsOptions(**given))
    assert not (tmp_path / "out").exists()
