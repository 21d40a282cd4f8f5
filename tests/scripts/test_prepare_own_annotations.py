"""Annotations of other programs as tags and as masks to measure on: the way back from what export_labels.py writes."""

import json

import cv2
import numpy as np
import pytest

from scripts import export_labels
from scripts.prepare_own import run
from tests.small_downloads import photo
from utils.config.options.labels import ExportLabelsOptions
from utils.config.options.prepare import PrepareOwnOptions
from utils.data.images import open_header, read_label, write_label_png
from utils.errors import UserError

# format -> what of its folder is given as annotations
GIVEN = {"coco": "instances.json", "cvat": "annotations.xml", "labelme": ".", "yolo": ".", "masks": "."}


@pytest.fixture
def folder(tmp_path):
    """Photos a, garden/b and empty, and label maps of cats (1) and dogs (2) with a hole and several parts."""
    for number, name in enumerate(("a", "garden/b", "empty")):
        photo(tmp_path / "photos" / f"{name}.jpg", seed=number)
        width, height = open_header(tmp_path / "photos" / f"{name}.jpg").size
        noise = np.random.default_rng(number).random((height, width)).astype(np.float32)
        label = (cv2.GaussianBlur(noise, (0, 0), 1.5) > 0.52).astype(np.uint8)
        label[2 : height // 2, 3 : width // 2] = 2
        label[4:6, 5:8] = 0
        if number == 1:
            label[label == 1] = 0
        write_label_png(tmp_path / "labels" / f"{name}.png", label * np.uint8(name != "empty"))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


def export(folder, form):
    given = {"dataset": str(folder / "toy"), "label_dir": str(folder / "labels"), "image_dir": str(folder / "photos")}
    export_labels.run(ExportLabelsOptions(format=form, out=str(folder / form), num_workers=1, **given))
    return folder / form / GIVEN[form]


def prepare(folder, **more):
    return run(PrepareOwnOptions(images=str(folder / "photos"), out=str(folder / "mine"), num_workers=1, **more))


@pytest.mark.parametrize("form", GIVEN)
def test_tags_are_what_occurs_and_masks_what_was_drawn(folder, form, capsys):
    path = str(export(folder, form))
    out = prepare(folder, tags=path, masks=path)
    assert (out / "classes.txt").read_text().split() == ["cat", "dog"]
    assert (out / "train_cls.txt").read_text().splitlines() == ["a 0 1", "b 1", "empty -"]
    assert (out / "train.txt").read_text().split() == ["a", "b", "empty"]
    for name in ("a", "garden/b", "empty"):
        expected = read_label(folder / "labels" / f"{name}.png")
        assert (read_label(out / "SegmentationClass" / f"{name.split('/')[-1]}.png") == expected).mean() > 0.995
    assert f"read as {form}" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["coco", "cvat", "masks"])
def test_formats_that_hold_pixels_give_each_of_them_back(folder, form):
    out = prepare(folder, tags=str(export(folder, form)), masks=str(export(folder, form)))
    expected = read_label(folder / "labels" / "a.png")
    assert (read_label(out / "SegmentationClass" / "a.png") == expected).all()


def test_masks_are_scaled_with_their_photos_and_other_orders_of_classes_are_kept(folder):
    path = str(export(folder, "coco"))
    (folder / "classes.txt").write_text("dog\ncat\n")
    out = prepare(folder, tags=path, masks=path, classes=str(folder / "classes.txt"), max_side=16)
    label = read_label(out / "SegmentationClass" / "b.png")
    assert max(label.shape) == 16 and set(np.unique(label)) == {0, 1}


def test_masks_of_annotations_among_the_photos_are_no_photos(folder, capsys):
    path = export(folder, "masks")
    path.rename(folder / "photos" / "drawn")
    prepare(folder, tags=str(folder / "photos" / "drawn"))
    assert "0 photos with unknown tags" in capsys.readouterr().out


def test_photos_without_an_annotation_have_unknown_tags(folder, capsys):
    content = json.loads(export(folder, "coco").read_text())
    content["images"] = [image for image in content["images"] if image["file_name"] != "empty.jpg"]
    (folder / "two.json").write_text(json.dumps(content))
    out = prepare(folder, tags=str(folder / "two.json"))
    assert (out / "train_cls.txt").read_text().splitlines() == ["a 0 1", "b 1"]
    assert "1 photos are not in two.json" in capsys.readouterr().out


def test_labels_that_are_no_tags_and_sizes_of_other_photos_are_named(folder):
    content = json.loads(export(folder, "coco").read_text())
    (folder / "tags.csv").write_text("file,tags\na.jpg,cat\n")
    with pytest.raises(UserError, match=r"'dog' in .*image"):
        prepare(folder, tags=str(folder / "tags.csv"), masks=str(folder / "coco" / "instances.json"))
    other = [{**image, "width": image["width"] + 3} for image in content["images"]]
    content["annotations"] = [a for a in content["annotations"] if isinstance(a["segmentation"], list)]
    (folder / "other.json").write_text(json.dumps({**content, "images": other}))
    with pytest.raises(UserError, match="annotations of another size"):
        prepare(folder, tags=str(folder / "coco" / "instances.json"), masks=str(folder / "other.json"))
    assert not (folder / "mine").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"images": []}'),
        ("a.json", '{"images": [{"id": 1}], "categories": [], "annotations": []}'),
        ("a.xml", "<annotations><image/></annotations>"),
        ("a.xml", "<html"),
        ("yolo/labels/a.txt", "0 0.1 0.1 0.2\n"),
        ("yolo/labels/a.txt", "7 0.1 0.1 0.2 0.2 0.3 0.1\n"),
        ("labelme/a.json", '{"shapes": [{"label": "cat"}], "imagePath": "a.jpg"}'),
        ("nothing/a.txt", ""),
    ],
)
def test_damaged_annotations_are_named(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if name.startswith("yolo"):
        (folder / "yolo" / "data.yaml").write_text("names: [cat, dog]\n")
    given = path if path.parent == folder else folder / name.split("/")[0]
    with pytest.raises(UserError, match=given.name):
        prepare(folder, tags=str(given))
