"""Matching of paths in tables to photos, and unique names."""

import time

import pytest

from scripts.prepare.photo_names import PhotoIndex, unique_names

PHOTOS = ["a.jpg", "trip/b.PNG", "trip/Köln 1.JPG", "x/p.jpg", "y/p.jpg", "both.jpg", "both.png"]


@pytest.fixture
def index(tmp_path):
    return PhotoIndex([tmp_path / name for name in PHOTOS], tmp_path)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("a.jpg", "a.jpg"), ("a", "a.jpg"), ("A.JPG", "a.jpg"), ("./a.jpg", "a.jpg"), ("a.JPEG", "a.jpg"),
        ("trip\\b.png", "trip/b.PNG"), ("TRIP/B", "trip/b.PNG"), ("b.png", "trip/b.PNG"), ("b", "trip/b.PNG"),
        ("/home/me/photos/trip/b.PNG", "trip/b.PNG"), ("C:\\photos\\trip\\b.png", "trip/b.PNG"),
        ("Ko\u0308ln 1", "trip/Köln 1.JPG"), ("photos/a.jpg", "a.jpg"), ("y/p.jpg", "y/p.jpg"),
        ("both.png", "both.png"),
    ],
)  # fmt: skip
def test_a_photo_is_found_however_its_path_is_written(index, tmp_path, cell, name):
    assert index.find(cell) == [tmp_path / name]


@pytest.mark.parametrize(
    ("cell", "count"), [("p.jpg", 2), ("both", 2), ("z/p.jpg", 0), ("c.jpg", 0), ("", 0), ("1", 0)]
)
def test_what_means_several_photos_or_none_is_told_apart(index, cell, count):
    assert len(index.find(cell)) == count


def test_names_are_unique_on_any_file_system(tmp_path):
    names = unique_names([tmp_path / name for name in [*PHOTOS, "X/P.jpg"]], tmp_path)
    assert len({name.casefold() for name in names.values()}) == len(names)
    assert names[tmp_path / "a.jpg"] == "a" and names[tmp_path / "y/p.jpg"] == "y_p"


def test_ten_thousand_names_without_suffix_and_as_many_mistyped_ones_take_seconds(tmp_path):
    start = time.process_time()
    index = PhotoIndex([tmp_path / f"IMG_{number:05d}.jpg" for number in range(10_000)], tmp_path)
    assert all(len(index.find(f"img_{number:05d}")) == 1 for number in range(10_000))
    assert not any(index.find(f"IMH_{number}") for number in range(10_000))
    assert index.hint("IMG_00001x.jpg")
    assert time.process_time() - start < 5
