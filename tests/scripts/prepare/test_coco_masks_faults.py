import json

import pytest

from scripts.prepare.coco_masks import read_instances
from utils.data.catalog import COCO_CLASSES
from utils.errors import UserError

POLYGON = [[2, 2, 10, 2, 10, 10, 2, 10]]


def written(folder, *, image=None, annotation=None, images=1):
    """An instance file of one image (20x16) with one object, some values of which are changed or, by None, missing."""
    own = {"id": 1, "file_name": "a.jpg", "height": 16, "width": 20} | (image or {})
    thing = {"id": 7, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 64.0, "segmentation": POLYGON}
    thing |= annotation or {}
    content = {
        "images": [{k: v for k, v in own.items() if v is not None}] * images,
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(COCO_CLASSES)],
        "annotations": [{k: v for k, v in thing.items() if v is not None}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("missing", ["iscrowd", "area"])
def test_what_is_missing_and_obvious_is_filled_in(tmp_path, missing):
    (image,) = read_instances(written(tmp_path, annotation={missing: None}))
    assert image.instances[0].area == 64 and not image.instances[0].is_crowd


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"annotation": {"segmentation": [[1, 1, 5, 1, 5, 5, 7]]}}, "annotation 7 of image 1"),
        ({"annotation": {"segmentation": {"counts": [10, 5], "size": [3, 5]}}}, "annotation 7 of image 1"),
        ({"annotation": {"segmentation": {"counts": [10, 5], "size": [16, 20]}}}, "annotation 7 of image 1"),
        ({"annotation": {"segmentation": [[float("nan")] * 6]}}, "annotation 7 of image 1"),
        ({"annotation": {"segmentation": 7}}, "annotation 7 of image 1"),
        ({"annotation": {"segmentation": None}}, "segmentation"),
        ({"annotation": {"category_id": 999}}, "999"),
        ({"annotation": {"image_id": 99}}, "image 99"),
        ({"image": {"file_name": None}}, "file_name"),
        ({"image": {"width": None}}, "width"),
        ({"image": {"file_name": "a b.jpg"}}, "a b.jpg"),
        ({"images": 2}, "the id 1"),
    ],
)
def test_what_cannot_be_meant_is_named_with_file_annotation_and_image(tmp_path, change, named):
    path = written(tmp_path, **change)
    with pytest.raises(UserError) as error:
        read_instances(path)
    assert error.value.where == str(path) and named in str(error.value)
