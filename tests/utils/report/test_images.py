import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.report_run import make_report_run
from utils.config.options.draw import DrawDataOptions
from utils.data.images import write_image, write_label_png
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.report.images import image_facts, pictures_of
from utils.report.pictures import find_sources
from utils.report.tables import label_statistics
from utils.runs.paths import RunPaths


@pytest.fixture
def toy(tmp_path):
    """Sources of small_run's run, and the folder for records."""
    options = make_report_run(tmp_path)
    paths = RunPaths.of(options["runs_dir"], "exp")
    data = DrawDataOptions(dataset=options["dataset"], label_dir=options["label_dir"])
    sources, _ = find_sources(paths, data)
    return sources, tmp_path / "records"


def facts(toy, name, with_pictures=True):
    sources, folder = toy
    return image_facts(name, sources=sources, folder=folder, with_pictures=with_pictures)


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_an_images_iou_is_the_mean_over_the_classes_of_its_mask_and_label(toy):
    # a: background 8 of 12, cat 12 of 16; b: its wrong column is ignored; c: background 20 of 24, dog 0 of 4
    assert facts(toy, "a").label_iou == pytest.approx((8 / 12 + 12 / 16) / 2)
    assert facts(toy, "b").label_iou == 1.0
    assert facts(toy, "c").label_iou == pytest.approx((20 / 24 + 0) / 2)


def test_classes_are_those_of_tags_label_and_mask(toy):
    assert [facts(toy, name).classes() for name in "abc"] == [[1], [1, 2], [2]]
    assert [facts(toy, name).tags for name in "abc"] == [(0,), (0, 1), ()]


def test_label_statistics_are_shares_of_all_pixels(toy):
    result = label_statistics([facts(toy, name, with_pictures=False) for name in "abc"], ("cat", "dog"))
    assert (result.labels, result.masks, result.tagged) == (3, 3, 3)
    rows = {row.name: row for row in result.rows}
    assert list(rows) == ["background", "cat", "dog", "ignored"]
    # of 72 pixels
    shares = {name: (row.label_share * 72, row.mask_share * 72) for name, row in rows.items()}
    expected = {"background": (28, 36), "cat": (28, 24), "dog": (12, 12), "ignored": (4, 0)}
    for name, pair in expected.items():
        assert shares[name] == pytest.approx(pair), name
    assert [(rows[name].tagged, rows[name].labelled) for name in ("cat", "dog")] == [(2, 2), (1, 2)]


def test_without_labels_all_masks_count_and_there_is_no_iou(toy):
    sources, folder = toy
    bare = type(sources)(**{**vars(sources), "label_dir": None})
    image = image_facts("a", sources=bare, folder=folder, with_pictures=False)
    assert (image.label_iou, image.label_pixels) == (None, None)
    result = label_statistics([image], ("cat", "dog"))
    assert [(row.label_share, row.mask_share) for row in result.rows] == [(None, 0.5), (None, 0.5), (None, 0.0)]


def test_pictures_are_the_photo_the_cams_and_the_maps_in_their_colours(toy):
    facts(toy, "b")
    pictures = pictures_of("b", toy[1])
    assert sorted(pictures) == ["cams", "label", "mask", "photo"]
    assert [index for index, _ in pictures["cams"]] == [1, 2]
    assert decoded(pictures["photo"]).size == (6, 4)
    label, indices = pictures["label"]
    assert indices == [1, 2, 255]
    pixels = np.asarray(decoded(label).convert("RGB"))
    np.testing.assert_array_equal(pixels[0, [0, 4, 5]], PALETTE[[1, 2, 255]])


def test_the_background_of_a_map_is_transparent(toy):
    facts(toy, "a")
    alpha = np.asarray(decoded(pictures_of("a", toy[1])["label"][0]).convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha[0], [255, 255, 255, 255, 0, 0])


def test_a_large_photo_becomes_a_thumbnail(toy):
    sources, folder = toy
    for name, kind in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (sources.image_dir.parent / name / f"big.{kind}").unlink(missing_ok=True)
    write_image(sources.image_dir / "big.jpg", np.zeros((600, 448, 3), np.uint8))
    image_facts("big", sources=sources, folder=folder, with_pictures=True)
    assert decoded(pictures_of("big", folder)["photo"]).size == (167, 224)


def test_a_record_is_made_again_only_if_its_files_changed(toy):
    sources, folder = toy
    record = folder / "a.json"
    numbers = facts(toy, "a", with_pictures=False)
    assert pictures_of("a", folder) is None
    facts(toy, "a")
    first = record.stat().st_mtime_ns
    assert facts(toy, "a") == numbers == facts(toy, "a", with_pictures=False)
    assert record.stat().st_mtime_ns == first
    write_label_png(sources.label_dir / "a.png", np.zeros((4, 6), np.uint8))
    assert facts(toy, "a").label_iou == pytest.approx((12 / 24 + 0) / 2)


def test_maps_that_do_not_fit_are_named(toy):
    sources, _ = toy
    write_label_png(sources.label_dir / "a.png", np.zeros((4, 7), np.uint8))
    with pytest.raises(UserError, match=r"labels/a\.png .*SegmentationClass/a\.png"):
        facts(toy, "a")
    (sources.mask_dir / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: .*7x4: .*a\.jpg .*6x4.*--image_dir"):
        facts(toy, "a")
