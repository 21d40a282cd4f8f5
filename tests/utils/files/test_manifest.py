import json

import pytest

from utils.errors import UserError
from utils.files.manifest import FolderSettings


@pytest.fixture
def record(tmp_path):
    return FolderSettings(tmp_path / "settings.json", "*/*.png", "pictures", "draw.py", "--out")


def put(record, name):
    path = record.path.parent / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path


def test_same_settings_are_let_through_also_with_tuples(record):
    record.check({"scales": (1, 2)}, may_replace=False)
    record.start({"scales": (1, 2)})
    made = put(record, "a/b.png")
    record.check({"scales": (1, 2)}, may_replace=False)
    record.start({"scales": (1, 2)})
    assert made.exists()


def test_other_settings_are_refused_until_all_is_made_again(record):
    record.start({"threshold": 0.2, "crf": False})
    made, other = put(record, "a/b.png"), put(record, "notes.txt")
    with pytest.raises(UserError, match=r"threshold: was 0\.2, is 0\.3") as error:
        record.check({"threshold": 0.3, "crf": False}, may_replace=False)
    assert error.value.where == str(record.path.parent)
    assert "--overwrite" in error.value.remedy and "--out" in error.value.remedy and "crf" not in error.value.what
    assert record.check({"threshold": 0.3, "crf": False}, may_replace=True)
    assert record.start({"threshold": 0.3, "crf": False}) == 1
    assert not made.exists() and other.exists()
    assert json.loads(record.path.read_text()) == {"threshold": 0.3, "crf": False}


def test_pictures_of_someone_else_are_left_alone(record):
    put(record, "a/b.png")
    with pytest.raises(UserError, match=r"settings\.json, .*draw\.py") as error:
        record.check({}, may_replace=True)
    assert error.value.where == str(record.path.parent) and "--out" in error.value.remedy
