"""The user's photos are converted to a dataset, or all faults are reported and nothing is written."""

import csv
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from scripts.prepare_own import PrepareOwnOptions, run
from tests.small_downloads import HEIGHT, WIDTH, block_mask, photo, turned_photo
from utils.data.dataset import open_dataset
from utils.data.images import write_image, write_label_png
from utils.errors import UserError


def prepare(folder, **more):
    options = {"images": str(folder / "photos"), "out": str(folder / "mine"), "num_workers": 1, **more}
    return run(PrepareOwnOptions(**options))


def with_csv(folder, text, **more):
    (folder / "tags.csv").write_text(text, encoding="utf-8")
    return prepare(folder, tags=str(folder / "tags.csv"), **more)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def folder(tmp_path):
    """Three photos, one with an umlaut and a space in its name, one in a folder."""
    for number, name in enumerate(("a.jpg", "Türme im Mai.JPG", "trip/c.png")):
        photo(tmp_path / "photos" / name, seed=number)
    return tmp_path


GOOD = "file,tags\na.jpg,cat;dog\nTürme im Mai.JPG,Kirche; dog ;\ntrip/c.png,cat\n"


def test_tags_from_a_csv_file(folder, capsys):
    out = with_csv(folder, GOOD)
    assert lines(out / "classes.txt") == ["Kirche", "cat", "dog"]
    assert lines(out / "train_cls.txt") == ["Türme_im_Mai 0 2", "a 1 2", "c 1"]
    assert sorted(path.name for path in (out / "JPEGImages").iterdir()) == ["Türme_im_Mai.jpg", "a.jpg", "c.png"]
    assert all(path.is_symlink() for path in (out / "JPEGImages").iterdir())
    assert not (out / "train.txt").exists()
    rows = list(csv.DictReader((out / "names.csv").open(encoding="utf-8")))
    assert ("Türme_im_Mai", "Türme im Mai.JPG") in [(row["name"], row["file"]) for row in rows]
    assert open_dataset(out).name == "mine"
    printed = capsys.readouterr().out
    assert "1 photos were renamed" in printed and "next:" in printed and "check_data.py" in printed


def test_names_and_tables_of_other_systems_match(folder):
    decomposed = unicodedata.normalize("NFD", "Türme im Mai.JPG")
    out = with_csv(folder, f"\ufeffFile,Tags\r\n{decomposed},x\r\n./trip\\c.png,y\r\n")
    assert lines(out / "train_cls.txt") == ["Türme_im_Mai 0", "c 1"]


def test_one_folder_a_tag_and_a_photo_in_two_folders_has_two(tmp_path, capsys):
    for tag, names in {"cat": (1, 2), "big dog": (2, 3)}.items():
        for number in names:
            photo(tmp_path / "photos" / tag / f"p{number}.jpg", seed=number)
    photo(tmp_path / "photos" / "untagged.jpg")
    out = prepare(tmp_path)
    assert lines(out / "classes.txt") == ["big dog", "cat"]
    assert lines(out / "train_cls.txt") == ["p1 1", "p2 0 1", "p3 0"]
    assert "1 photos with unknown tags" in capsys.readouterr().out


def test_an_empty_cell_is_a_negative_and_absence_or_a_question_mark_unknown(folder, capsys):
    photo(folder / "photos" / "d.jpg", seed=9)
    out = with_csv(folder, "file,tags\na.jpg,cat\nTürme im Mai.JPG,\nd.jpg,?\n")
    assert lines(out / "train_cls.txt") == ["Türme_im_Mai -", "a 0"]
    assert lines(out / "train_aug.txt") == ["Türme_im_Mai", "a"]
    printed = capsys.readouterr().out
    assert "1 of them negatives" in printed and "2 photos with unknown tags" in printed


@pytest.mark.parametrize("inside", [True, False])
def test_a_folder_of_negatives_is_no_tag(tmp_path, inside):
    for number, tag in enumerate(("cat", "cat", "empty")):
        root = tmp_path if tag == "empty" and not inside else tmp_path / "photos"
        photo(root / tag / f"p{number}.jpg", seed=number)
    out = prepare(tmp_path, negatives="empty" if inside else str(tmp_path / "empty"))
    assert lines(out / "classes.txt") == ["cat"]
    assert lines(out / "train_cls.txt") == ["p0 0", "p1 0", "p2 -"]


def test_negatives_with_tags_in_the_table_are_refused(folder):
    with pytest.raises(UserError, match=r"--negatives.*c\.png"):
        with_csv(folder, GOOD, negatives="trip")


def test_masks_and_saliency_come_along_under_the_same_names(folder):
    for name in ("a", "Türme im Mai", "c"):
        write_image(folder / "maps" / f"{name}.png", block_mask(255))
    write_label_png(folder / "photos" / "masks" / "Türme im Mai.png", block_mask(3))  # not a photo
    out = with_csv(folder, GOOD, saliency=str(folder / "maps"), masks=str(folder / "photos" / "masks"))
    assert lines(out / "train.txt") == ["Türme_im_Mai"]
    assert len(lines(out / "train_cls.txt")) == 3
    assert (out / "SegmentationClass" / "Türme_im_Mai.png").is_file()
    assert sorted(path.stem for path in (out / "Sal").iterdir()) == ["Türme_im_Mai", "a", "c"]


def test_a_given_order_of_classes_is_kept(folder):
    (folder / "classes.txt").write_text("dog\ncat\nemu\nKirche\n")
    out = with_csv(folder, GOOD, classes=str(folder / "classes.txt"))
    assert lines(out / "classes.txt") == ["dog", "cat", "emu", "Kirche"]
    assert lines(out / "train_cls.txt")[1] == "a 0 1"


def test_photos_that_lie_on_their_side_are_written_upright(tmp_path):
    turned_photo(tmp_path / "photos" / "cat" / "t.jpg")
    write_label_png(tmp_path / "masks" / "t.png", np.ones((WIDTH, HEIGHT), np.uint8))
    out = prepare(tmp_path, masks=str(tmp_path / "masks"))
    with Image.open(out / "JPEGImages" / "t.jpg") as image:
        assert image.size == (HEIGHT, WIDTH) and 0x0112 not in image.getexif()
    assert not (out / "JPEGImages" / "t.jpg").is_symlink()


def test_copies_outlive_the_photos_and_a_second_run_changes_nothing(folder):
    out = with_csv(folder, GOOD, copy=True)
    stamps = {path: path.stat().st_mtime_ns for path in (out / "JPEGImages").iterdir()}
    with_csv(folder, GOOD, copy=True)
    assert {path: path.lstat().st_mtime_ns for path in (out / "JPEGImages").iterdir()} == stamps
    assert not any(path.is_symlink() for path in stamps)


def test_a_converted_photo_is_converted_again_by_its_content_and_not_by_its_date(tmp_path):
    """Dates and sizes of photos in archives and on network drives are often equal."""
    source = tmp_path / "photos" / "cat" / "a.bmp"
    photo(source, seed=1)
    os.utime(source, (100, 100))
    out = prepare(tmp_path)
    made = next((out / "JPEGImages").iterdir())
    before, size = made.read_bytes(), source.stat().st_size
    os.utime(source, (2_000_000_000, 2_000_000_000))
    stamp = made.stat().st_mtime_ns
    prepare(tmp_path)
    assert made.stat().st_mtime_ns == stamp
    photo(source, seed=2)
    os.utime(source, (2_000_000_000, 2_000_000_000))
    assert source.stat().st_size == size
    prepare(tmp_path)
    assert made.read_bytes() != before


def test_everything_wrong_in_the_table_is_told_at_once(folder):
    table = "file,tags\na.jpg,cat\nb.jpg,cat\ntrip/c.png,x/y\nother/c.png,dog\nTürme im Mai.JPG,background\n"
    with pytest.raises(UserError) as error:
        with_csv(folder, table)
    for part in (
        "2 rows name photos that are not in",
        "tags.csv:3 'b.jpg' (did you mean a.jpg?)",
        "tags.csv:5 'other/c.png'",
        "2 tags are not valid class names",
        "'x/y'",
        "'background'",
    ):
        assert part in str(error.value), part
    assert not (folder / "mine").exists()


def test_rows_without_a_photo_are_left_out_on_request_and_counted(folder, capsys):
    out = with_csv(folder, GOOD + "gone.jpg,emu\n", skip_missing=True)
    assert lines(out / "classes.txt") == ["Kirche", "cat", "dog"]
    assert "skipped: 1 rows" in capsys.readouterr().out


def test_several_rows_of_a_photo_are_joined_and_more_cells_are_more_tags(folder):
    out = with_csv(folder, "file,tags\na.jpg,cat\na.jpg,dog\nTürme im Mai.JPG,a,b\ntrip/c.png,\n")
    assert lines(out / "classes.txt") == ["a", "b", "cat", "dog"]
    assert lines(out / "train_cls.txt") == ["Türme_im_Mai 0 1", "a 2 3", "c -"]


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("", "tags.csv: "),
        ("photo of,what\na.jpg,cat\n", "tags.csv:1: "),
        ("file,colour\na.jpg,red\n", "tags.csv:1: no column"),
        ("file,tags\na.jpg,\n", "--tags"),
        ("file,tags\na.jpg,Background\n", "'Background'"),
        ("file,tags\na.jpg,nan\n", "'nan'"),
        ("file,tags\na.jpg,<b>cat\n", "'<b>cat'"),
    ],
)
def test_a_table_that_says_nothing_is_refused(folder, table, rule):
    with pytest.raises(UserError) as error:
        with_csv(folder, table)
    assert rule in str(error.value)


def test_files_that_cannot_be_read_or_do_not_fit_are_told_at_once(folder):
    (folder / "photos" / "a.jpg").write_bytes(b"no image")
    write_label_png(folder / "masks" / "c.png", block_mask(4))
    write_label_png(folder / "masks" / "Türme im Mai.png", block_mask(1)[1:])
    with pytest.raises(UserError) as error:
        with_csv(folder, GOOD, masks=str(folder / "masks"))
    assert "photos/a.jpg" in str(error.value)
    assert "masks/c.png (4)" in str(error.value)
    assert "(16x11, image 16x12)" in str(error.value)
    assert not (folder / "mine").exists()


def test_different_photos_of_one_name_are_named_after_their_folders_and_suffixes(tmp_path):
    for number, file in enumerate(("cat/p.jpg", "cat/p.png", "dog/P.jpg", "dog/q.jpg")):
        photo(tmp_path / "photos" / file, seed=number)
    assert lines(prepare(tmp_path) / "train_cls.txt") == ["cat_p_jpg 0", "cat_p_png 0", "dog_P 1", "q 1"]


def test_saliency_maps_and_masks_that_belong_to_other_photos_are_refused(folder):
    for kind in ("maps", "masks"):
        write_label_png(folder / kind / "z.png", block_mask(1))
    with pytest.raises(UserError) as error:
        with_csv(folder, GOOD, saliency=str(folder / "maps"), masks=str(folder / "masks"))
    assert "--saliency: 3 of 3 " in str(error.value) and "--masks: " in str(error.value)


def test_a_tag_that_the_given_classes_lack_is_named_with_a_photo(folder):
    (folder / "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(UserError) as error:
        with_csv(folder, GOOD, classes=str(folder / "classes.txt"))
    assert "'cat'" in str(error.value) and not (folder / "mine").exists()
    assert "'Kirche'" in str(error.value) and "Türme im Mai.JPG" in str(error.value)


def test_a_folder_without_photos_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"--images: .*photos"):
        prepare(tmp_path)
