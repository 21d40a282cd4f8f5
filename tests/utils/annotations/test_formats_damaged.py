"""Damaged annotation files: every reader either gives shapes that can be drawn, or one error that names the file."""

import base64
import copy
import io
import json

import numpy as np
import pytest
from PIL import Image

from utils.annotations import regions
from utils.annotations.formats import label_map, read_annotations
from utils.data.images import write_label_png
from utils.errors import UserError

SIZE = 30, 40
ODD = (
    None,
    "",
    "x",
    True,
    -1,
    0,
    7,
    1.5,
    float("inf"),
    float("nan"),
    10**12,
    1e300,
    [],
    {},
    [[]],
    [["a"] * 6],
    {"a": 1},
)


def png(mode="1"):
    buffer = io.BytesIO()
    Image.new(mode, (4, 5), 1).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


COCO = {
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "images": [{"id": 5, "file_name": "a.jpg", "height": 30, "width": 40}],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 1, "segmentation": [[2, 2, 20, 2, 20, 20]], "iscrowd": 0},
        {"id": 2, "image_id": 5, "category_id": 2, "segmentation": {"size": [30, 40], "counts": [100, 30, 1070]}},
        {"id": 3, "image_id": 5, "category_id": 2, "segmentation": [], "bbox": [1, 2, 3, 4]},
    ],
}
LABELME = {
    "imagePath": "a.jpg", "imageHeight": 30, "imageWidth": 40,
    "shapes": [
        {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]]},
        {"label": "dog", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]},
        {"label": "dog", "shape_type": "circle", "points": [[9, 9], [9, 12]]},
        {"label": "cat", "shape_type": "mask", "points": [[3, 3], [6, 7]], "mask": png()},
        {"label": "cat", "shape_type": "point", "points": [[3, 3]]},
    ],
}  # fmt: skip
CVAT = (
    '<annotations><image id="0" name="a.jpg" width="40" height="30">'
    '<mask label="cat" rle="3, 4, 5" left="1" top="2" width="4" height="3" z_order="0"/>'
    '<polygon label="dog" points="1.0,1.0;9.0,1.0;9.0,9.0" z_order="1"/>'
    '<box label="dog" xtl="1.5" ytl="2.5" xbr="9.5" ybr="8.5" rotation="30.0" z_order="2"/>'
    '<ellipse label="cat" cx="9.0" cy="9.0" rx="5.0" ry="3.0" z_order="3"/>'
    '<tag label="cat"/></image></annotations>'
)
ODD_TEXTS = ("", "x", "-1", "0", "-7", "1e3", "inf", "nan", "1000000000000", "1,2", "1,2;3", "9" * 5000, "-5, 5", "é")


def places(tree, path=()):
    """The paths of all values in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(tree, path, value=None, *, remove=False):
    tree = copy.deepcopy(tree)
    branch = tree
    for key in path[:-1]:
        branch = branch[key]
    if remove:
        del branch[path[-1]]
    else:
        branch[path[-1]] = value
    return tree


def check(folder, given):
    """Return the photos; an error must be the user's, and name a file of the folder."""
    try:
        photos = read_annotations(given)
    except UserError as error:
        assert str(folder) in str(error) and "\n" not in str(error), error
        return None
    for photo in photos:
        assert photo.size is None or (min(photo.size) >= 1 and np.prod(photo.size) <= regions.MOST_PIXELS)
        values = {label: number for number, label in enumerate(photo.labels, start=1)}
        assert label_map(photo, values, SIZE).shape == SIZE
    return photos


@pytest.mark.parametrize(("tree", "name"), [(COCO, "a.json"), (LABELME, "a/a.json")])
def test_json_with_any_value_replaced_or_removed(tmp_path, tree, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    given = file if file.parent == tmp_path else file.parent
    file.write_text(json.dumps(tree))
    assert [photo.labels for photo in check(tmp_path, given)] in ([("dog", "cat")], [("cat", "dog")])
    for path in places(tree):
        for value in ODD:
            file.write_text(json.dumps(changed(tree, path, value)))
            check(tmp_path, given)
        file.write_text(json.dumps(changed(tree, path, remove=True)))
        check(tmp_path, given)


def test_xml_with_any_attribute_replaced_or_removed(tmp_path):
    import xml.etree.ElementTree as ET

    file = tmp_path / "a.xml"
    file.write_text(CVAT)
    (photo,) = check(tmp_path, file)
    assert [shape.extent for shape in photo.shapes] == ["region", "none", "region", "box", "region"]
    count = len(list(ET.fromstring(CVAT).iter()))
    for number in range(count):
        for key in list(ET.fromstring(CVAT).iter())[number].attrib:
            for value in (*ODD_TEXTS, None):
                root = ET.fromstring(CVAT)
                element = list(root.iter())[number]
                element.attrib.pop(key)
                if value is not None:
                    element.set(key, value)
                file.write_text(ET.tostring(root, encoding="unicode"))
                check(tmp_path, file)


def test_lines_of_numbers_with_any_word_replaced(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    for line in ("0 0.1 0.1 0.5 0.1 0.5 0.5", "1 0.5 0.5 0.2 0.2"):
        for number in range(len(line.split())):
            for value in (*ODD_TEXTS, "2", "1.5"):
                words = line.split()
                words[number] = value
                (tmp_path / "labels" / "a.txt").write_text(" ".join(words) + "\n")
                check(tmp_path, tmp_path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text", ["", "names:\n", "names: 7\n", "names: [[1]]\n", "names: {x: cat}\n", "[cat, dog]\n", f"{BOMB}names: *i\n",
             "names: [cat]\nkpt_shape: [17, 3]\n", "names: &a [*a]\n", "[" * 3000]
)  # fmt: skip
def test_yaml_without_a_list_of_names(tmp_path, text):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text(text)
    assert check(tmp_path, tmp_path) is None


def deep():
    return "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("text", ["", "null", "7", "[]", "{}", '"a"', "<html>", deep(), '{"images": ' + deep() + "}"])
def test_json_of_anything_else(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert check(tmp_path, tmp_path / "a.json") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["images"].append({**c["images"][0], "file_name": "b.jpg"}),
        lambda c: c["categories"].append({"id": 2, "name": "bird"}),
        lambda c: c["annotations"].append({**c["annotations"][0], "image_id": 6}),
        lambda c: c["annotations"].append({**c["annotations"][0], "category_id": 6}),
        lambda c: c["annotations"][2].update(bbox=["1", "2", "x", "4"]),
        lambda c: c["images"][0].update(height=10**6, width=10**6),
        lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]),
    ],
)
def test_what_would_be_mixed_up_or_take_all_memory_is_refused(tmp_path, change):
    content = copy.deepcopy(COCO)
    change(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert check(tmp_path, tmp_path / "a.json") is None


def cvat(tmp_path, element):
    (tmp_path / "a.xml").write_text(
        f'<annotations><image id="0" name="a.jpg" width="40" height="30">{element}</image></annotations>'
    )
    return check(tmp_path, tmp_path / "a.xml")


@pytest.mark.parametrize(
    "element",
    [
        '<mask label="cat" rle="0, 12" left="-5" top="2" width="4" height="3"/>',
        '<mask label="cat" rle="0, 12" left="38" top="2" width="4" height="3"/>',
        '<mask label="cat" rle="-12, 24" left="3" top="2" width="4" height="3"/>',
        '<mask label="cat" rle="1000000000000" left="3" top="2" width="1000000" height="1000000"/>',
        '<hexagon label="cat" points="1,1;2,2;3,1"/>',
    ],
)
def test_masks_beside_the_photo_and_unknown_shapes_are_refused(tmp_path, element):
    assert cvat(tmp_path, element) is None


@pytest.mark.parametrize("kind", ["tag", "points", "polyline", "cuboid", "skeleton"])
def test_shapes_without_pixels_are_tags_all_the_same(tmp_path, kind):
    (photo,) = cvat(tmp_path, f'<{kind} label="cat" points="1,1;2,2"/>')
    assert photo.labels == ("cat",) and not photo.shapes[0].draw(SIZE).any()


def test_boxes_are_turned_and_ellipses_drawn(tmp_path):
    (photo,) = cvat(tmp_path, '<box label="cat" xtl="10" ytl="13" xbr="30" ybr="17" rotation="90"/>')
    box = photo.shapes[0].draw(SIZE)
    ys, xs = np.nonzero(box)
    assert (
        abs(np.ptp(ys) - 20) <= 1
        and abs(np.ptp(xs) - 4) <= 1
        and abs(ys.mean() - 14.5) < 1
        and abs(xs.mean() - 19.5) < 1
    )
    (photo,) = cvat(tmp_path, '<ellipse label="cat" cx="20" cy="15" rx="12" ry="6" rotation="0"/>')
    assert abs(photo.shapes[0].draw(SIZE).sum() / (np.pi * 12 * 6) - 1) < 0.05


def test_values_that_the_list_of_labels_does_not_name_are_refused(tmp_path):
    label = np.zeros(SIZE, np.uint8)
    label[3:9] = 3
    write_label_png(tmp_path / "SegmentationClass" / "a.png", label)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\n")
    assert check(tmp_path, tmp_path) is None


def test_a_mask_that_is_no_image_names_file_and_shape(tmp_path):
    (tmp_path / "a.json").write_text(
        json.dumps(changed(LABELME, ("shapes", 3, "mask"), base64.b64encode(b"x").decode()))
    )
    with pytest.raises(UserError, match=r"a\.json: shape 4"):
        read_annotations(tmp_path)
