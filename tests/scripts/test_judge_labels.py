"""Labels are judged without masks: every figure of three pictures of 4 x 6 pixels, computed by hand."""

import json

import numpy as np
import pytest

from scripts import draw_cams
from scripts.judge_labels import run
from tests.small_run import HEIGHT, WIDTH, make_small_run
from tests.utils.report.test_page import blocks
from utils.config.options import DrawOptions
from utils.config.options.own import JudgeLabelsOptions
from utils.data.images import read_label, write_image, write_label_png
from utils.errors import UserError
from utils.runs.label_judgement import FILE, Figures, PhotoFigures, read_label_judgement


def stripes(*columns):
    """A label map of these columns."""
    return np.tile(np.uint8(columns), (HEIGHT, 1))


LABELS = {"a": stripes(1, 1, 1, 1, 0, 0), "b": stripes(1, 1, 1, 0, 0, 0), "c": stripes(0, 0, 0, 0, 0, 0)}
FIRST = {"a": stripes(1, 1, 1, 0, 0, 0), "b": LABELS["b"]}
NETWORK = {"A 1": stripes(1, 1, 1, 1, 2, 2), "B": LABELS["b"].repeat(2, 0).repeat(2, 1), "C_jpg": stripes(2, *[0] * 5)}


@pytest.fixture
def options(tmp_path):
    """a is tagged cat, b cat and dog, c is a negative; the photos have other names, and b's is twice as large."""
    chosen = make_small_run(tmp_path)
    (tmp_path / "toy" / "train_cls.txt").write_text("a 0\nb 0 1\nc -\n")
    (tmp_path / "toy" / "names.csv").write_text("name,file\na,more/A 1.jpg\nb,B.png\nc,C.jpg\n")
    for folder, labels in (("labels", LABELS), ("first", FIRST), ("network", NETWORK)):
        for name, label in labels.items():
            place = f"more/{name}" if name == "A 1" else name
            write_label_png(tmp_path / folder / f"{place}.png", label)
    write_label_png(tmp_path / "first" / "c.png", LABELS["c"])
    for name, map_ in (("a", FIRST["a"] * 255), ("b", stripes(*[255] * WIDTH)), ("c", LABELS["c"])):
        write_image(tmp_path / "toy" / "Sal" / f"{name}.png", map_)
    folders = {"label_dir": "labels", "first_dir": "first", "prediction_dir": "network"}
    return {**chosen, "num_workers": 1, **{name: str(tmp_path / folder) for name, folder in folders.items()}}


def judged(options, **more):
    path = run(JudgeLabelsOptions(**{**options, **more}))
    found = read_label_judgement(path.parent)
    assert found is not None
    return found


def test_every_figure_is_the_one_computed_by_hand(options):
    found = judged(options)
    a, b, c = found.photos
    assert (a.missing, b.missing, c.missing) == ((), ("dog",), ())
    assert (a.saliency, b.saliency, c.saliency) == (12 / 16, 12 / 24, None)
    assert (a.rounds, b.rounds, c.rounds) == (pytest.approx((12 / 16 + 8 / 12) / 2), 1.0, None)
    assert (a.network, b.network) == (pytest.approx(1 / 3), 1.0)
    assert c.network == pytest.approx((20 / 24 + 0) / 2)
    assert a.doubt == pytest.approx((0 + 4 / 16 + (4 / 16 + 4 / 12) / 2 + 2 / 3) / 4)
    assert b.doubt == pytest.approx((1 / 2 + 1 / 2) / 4)
    assert c.doubt == pytest.approx(1 - 10 / 24)
    assert [photo.name for photo in found.most_doubtful()] == ["c", "a", "b"]
    cat, dog = found.classes["cat"], found.classes["dog"]
    assert cat == Figures(2, 0.0, (12 / 16 + 12 / 24) / 2, pytest.approx(24 / 28), 1.0)
    assert dog == Figures(1, 1.0, 12 / 24, None, 0.0)
    assert found.overall.photos == 3 and found.overall.missing == 1 / 2
    assert found.overall.rounds == pytest.approx((24 / 28 + 20 / 24) / 2)
    assert found.overall.network == pytest.approx((1.0 + 0.0 + (0 + 12 + 20) / (8 + 12 + 24)) / 3)


def test_a_class_that_the_labels_lose_is_warned_of_with_photos(options):
    (warning,) = judged(options).warnings
    assert "dog 100 %" in warning and "e.g. b" in warning


def test_a_class_that_the_network_does_not_draw_is_warned_of(options, tmp_path):
    write_label_png(tmp_path / "labels" / "b.png", stripes(1, 1, 1, 2, 2, 2))
    (warning,) = judged(options).warnings
    assert "hardly predicts" in warning and "dog 0 %" in warning


def test_the_networks_masks_are_written_under_the_images_names(options, tmp_path):
    judged(options)
    made = tmp_path / "runs" / "exp" / "network_masks"
    assert sorted(path.name for path in made.iterdir()) == ["a.png", "b.png", "c.png"]
    assert np.array_equal(read_label(made / "b.png"), LABELS["b"])


def test_what_is_not_given_is_not_judged(options):
    found = judged(options, first_dir=None, prediction_dir=None, sal_dir="none")
    assert found.overall == Figures(3, 1 / 2, None, None, None)
    assert [photo.doubt for photo in found.photos] == [0, 1 / 2, 0]
    assert "nothing to compare with" in found.summary()


def test_missing_labels_and_masks_are_named(options, tmp_path):
    with pytest.raises(UserError, match="3 of 3 labels are missing"):
        judged(options, label_dir=str(tmp_path / "toy"))
    with pytest.raises(UserError, match="no mask of an image"):
        judged(options, prediction_dir=str(tmp_path / "toy"))


def test_a_photo_of_which_nothing_is_known_has_no_doubt():
    assert PhotoFigures("n", (), (), None, None, None).doubt == 0


def test_the_report_shows_the_table_and_sorts_by_doubt(options, tmp_path):
    judged(options)
    chosen = {name: options[name] for name in ("experiment_name", "runs_dir", "dataset", "label_dir", "num_workers")}
    masks = str(tmp_path / "runs" / "exp" / "network_masks")
    page = draw_cams.run(DrawOptions(**chosen, report=True, prediction_dir=masks)).read_text()
    assert '<section id="judgement">' in page and "labels have no pixel of their tag" in page
    assert page.index('value="doubt:most"') < page.index('value="label:worst"')
    images = blocks(page)["index"]["images"]
    assert {image["name"]: image["doubt"] for image in images} == pytest.approx(
        {photo.name: photo.doubt for photo in judged(options).photos}
    )


def test_a_damaged_file_is_named(options, tmp_path):
    path = tmp_path / "runs" / "exp" / FILE
    path.write_text(json.dumps({"made_of": {}}))
    with pytest.raises(UserError, match=FILE):
        read_label_judgement(path.parent)


@pytest.mark.parametrize(
    ("place", "label", "words"),
    [
        ("labels/b", stripes(1, 1, 1, 0, 0, 9), "contains 9"),
        ("network/B", LABELS["b"].repeat(2, 0), "is 6x8, the label 6x4"),
    ],
)
def test_labels_that_cannot_be_of_the_photo_are_named(options, tmp_path, place, label, words):
    write_label_png(tmp_path / f"{place}.png", label)
    with pytest.raises(UserError, match=words) as error:
        judged(options)
    assert f"{place}.png" in str(error.value)


@pytest.mark.parametrize("text", ["name,file\na\n", "name,file\na,x\0\n", "name,file\n,x\n", "a,b\n1,2\n"])
def test_a_damaged_table_of_names_is_named(options, tmp_path, text):
    (tmp_path / "toy" / "names.csv").write_text(text)
    with pytest.raises(UserError, match=r"names\.csv|--prediction_dir"):
        judged(options)
