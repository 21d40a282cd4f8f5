"""Exported labels, read by others' readers and by the rules that formats publish, are the same pixels."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from scripts.export_labels import run
from tests.small_run import make_small_run
from utils.cam.artefact import write_cam
from utils.config.options.labels import ExportLabelsOptions
from utils.data.images import read_label, write_image, write_label_png
from utils.errors import UserError

CLASSES = ("cat", "dog")
SIZE = (40, 52)


def label_map(seed):
    """A label map with parts, a hole, an island in it, single pixels and ignored pixels."""
    label = np.zeros(SIZE, np.uint8)
    noise = np.random.default_rng(seed).random(SIZE).astype(np.float32)
    label[cv2.GaussianBlur(noise, (0, 0), 2.0) > 0.52] = 1
    label[5:25, 8:30], label[9:20, 12:26], label[13:16, 16:20] = 2, 0, 2
    label[30, 3], label[39, 51], label[35:, 30:34] = 2, 1, 255
    return label


@pytest.fixture
def folder(tmp_path):
    """A dataset of three photos (the last without objects), their labels, and CAMs of two of them."""
    data = tmp_path / "toy"
    for seed, name in enumerate(("a", "b c", "empty")):
        label = label_map(seed) if name != "empty" else np.zeros(SIZE, np.uint8)
        write_label_png(tmp_path / "labels" / f"{name}.png", label)
        write_image(data / "JPEGImages" / f"{name}.jpg", np.full((*SIZE, 3), 90, np.uint8))
    (data / "classes.txt").write_text("cat\ndog\n")
    write_cam(tmp_path / "cams" / "a.npz", [1], np.full((1, *SIZE), 102, np.uint8))
    return tmp_path


def export(folder, form, **changes):
    given = {"dataset": str(folder / "toy"), "label_dir": str(folder / "labels"), "out": str(folder / form)}
    given |= {"num_workers": 1, "pred_dir": str(folder / "cams")}
    return run(ExportLabelsOptions(format=form, **given | changes))


def expected(folder, name):
    """The label map as formats hold it: without ignored pixels."""
    label = read_label(folder / "labels" / f"{name}.png")
    return np.where(label == 255, 0, label)


def test_pycocotools_reads_the_same_pixels_names_and_scores(folder):
    coco = COCO(export(folder, "coco") / "instances.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert sorted(image["file_name"] for image in coco.loadImgs(coco.getImgIds())) == ["a.jpg", "b c.jpg", "empty.jpg"]
    for image in coco.loadImgs(coco.getImgIds()):
        label = np.zeros(SIZE, np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == mask.sum()
            left, top, width, height = annotation["bbox"]
            ys, xs = np.nonzero(mask)
            assert (left, top, left + width - 1, top + height - 1) == (xs.min(), ys.min(), xs.max(), ys.max())
            label[mask] = annotation["category_id"]
            is_scored = image["file_name"] == "a.jpg" and annotation["category_id"] == 2
            assert annotation.get("score") == (pytest.approx(0.4) if is_scored else None)
        assert (label == expected(folder, image["file_name"][:-4])).all()


def test_pycocotools_finds_an_object_per_part(folder):
    whole, parts = (
        COCO(export(folder, "coco", objects=o, overwrite=True) / "instances.json") for o in ("class", "part")
    )
    assert len(parts.anns) > len(whole.anns) == 4
    assert sum(a["area"] for a in parts.anns.values()) == sum(a["area"] for a in whole.anns.values())


def test_labelme_draws_the_same_pixels_from_the_published_keys(folder):
    out = export(folder, "labelme")
    for name in ("a", "b c", "empty"):
        content = json.loads((out / f"{name}.json").read_text())
        assert {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"} == set(content)
        assert (out / content["imagePath"]).is_file()
        assert (content["imageHeight"], content["imageWidth"]) == SIZE
        label = np.zeros(SIZE, np.uint8)
        for shape in content["shapes"]:
            assert {"label", "points", "group_id", "shape_type", "flags"} <= set(shape)
            assert shape["shape_type"] == "polygon" and len(shape["points"]) > 2
            # as labelme.utils.shape_to_mask does it
            mask = Image.fromarray(np.zeros(SIZE, np.uint8))
            ImageDraw.Draw(mask).polygon(xy=[tuple(point) for point in shape["points"]], outline=1, fill=1)
            label[np.array(mask, bool)] = CLASSES.index(shape["label"]) + 1
        assert (label == expected(folder, name)).mean() > 0.995
        assert len({shape["group_id"] for shape in content["shapes"]}) == len(np.unique(label)) - 1


def test_ultralytics_finds_its_folders_and_draws_the_same_pixels(folder):
    out = export(folder, "yolo")
    content = yaml.safe_load((out / "data.yaml").read_text())
    assert content["names"] == dict(enumerate(CLASSES))
    images = sorted((out / content["train"]).iterdir())
    assert [image.name for image in images] == ["a.jpg", "b c.jpg", "empty.jpg"]
    for image in images:
        lines = (out / "labels" / f"{image.stem}.txt").read_text().splitlines()
        label = np.zeros(SIZE, np.uint8)
        for line in lines:
            index, *values = line.split()
            assert len(values) >= 6 and len(values) % 2 == 0
            points = np.array(values, np.float32).reshape(-1, 2)
            assert points.min() >= 0 and points.max() <= 1 and 0 <= int(index) < len(CLASSES)
            mask = np.zeros(SIZE, np.uint8)
            cv2.fillPoly(mask, [np.asarray(points * SIZE[::-1], np.int32)], color=1)  # as polygon2mask does it
            label[mask == 1] = int(index) + 1
        assert (label == expected(folder, image.stem)).all()


def test_the_xml_is_that_of_cvat_for_images(folder):
    root = ET.parse(export(folder, "cvat") / "annotations.xml").getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [label.findtext("name") for label in root.findall("meta/task/labels/label")] == list(CLASSES)
    images = root.findall("image")
    assert [image.get("name") for image in images] == ["a.jpg", "b c.jpg", "empty.jpg"]
    for image in images:
        assert (int(image.get("height")), int(image.get("width"))) == SIZE
        label = np.zeros(SIZE, np.uint8)
        for mask in image.findall("mask"):
            assert {"label", "source", "occluded", "rle", "left", "top", "width", "height", "z_order"} <= set(
                mask.attrib
            )
            left, top, width, height = (int(mask.get(key)) for key in ("left", "top", "width", "height"))
            part, value = [], 0
            for count in mask.get("rle").split(","):  # runs of 0 and 1 in turn, the first of 0
                part += [value] * int(count)
                value = 1 - value
            inside = np.array(part, bool).reshape(height, width)
            label[top : top + height, left : left + width][inside] = CLASSES.index(mask.get("label")) + 1
        assert (label == expected(folder, image.get("name")[:-4])).all()
    assert images[0].find("mask[@label='dog']/attribute[@name='score']").text == "0.4000"
    assert images[1].find("mask/attribute") is None


def test_masks_have_the_colours_that_the_label_map_names(folder):
    out = export(folder, "masks")
    lines = [line.split(":") for line in (out / "labelmap.txt").read_text().splitlines() if not line.startswith("#")]
    colours = {line[0]: tuple(map(int, line[1].split(","))) for line in lines}
    assert list(colours) == ["background", *CLASSES]
    assert (out / "ImageSets" / "Segmentation" / "default.txt").read_text().splitlines() == ["a", "b c", "empty"]
    pixels = np.asarray(Image.open(out / "SegmentationClass" / "a.png").convert("RGB"))
    label = expected(folder, "a")
    for number, colour in enumerate(colours.values()):
        assert ((pixels == colour).all(axis=-1) == (label == number)).all()


def test_the_labels_of_a_run_are_found_by_its_name(tmp_path, monkeypatch):
    named = make_small_run(tmp_path)
    monkeypatch.setattr("utils.files.locate.PROJECT_ROOT", tmp_path / "project")
    options = ExportLabelsOptions(**named, num_workers=1)
    with pytest.raises(UserError, match=r"gen_gt\.py"):
        run(options)
    labels = tmp_path / "project" / "data" / "toy" / "pseudo_seg_labels_exp"
    write_label_png(labels / "b.png", np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0).astype(np.uint8))
    assert run(options) == tmp_path / "runs" / "exp" / "export" / "coco"
    coco = COCO(tmp_path / "runs" / "exp" / "export" / "coco" / "instances.json")
    assert [(a["category_id"], a["area"], a["score"]) for a in coco.anns.values()] == [(1, 12, 1.0), (2, 12, 1.0)]


def test_labels_that_do_not_fit_are_named(folder):
    write_label_png(folder / "labels" / "a.png", np.full(SIZE, 7, np.uint8))
    with pytest.raises(UserError, match=r"holds 7.*a\.png|a\.png.*holds 7"):
        export(folder, "coco")
    write_label_png(folder / "labels" / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match="4x4"):
        export(folder, "coco")
    write_label_png(folder / "labels" / "none.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match=r"1 of 4 photos.*none"):
        export(folder, "coco")


def test_annotations_of_other_settings_are_not_mixed(folder):
    export(folder, "coco")
    with pytest.raises(UserError, match="--overwrite"):
        export(folder, "coco", min_area=30)
    assert export(folder, "coco", min_area=30, overwrite=True)
