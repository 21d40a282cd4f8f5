"""All faults of a dataset are reported together, and the exit status shows whether training can start."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from scripts.check_data import CheckOptions, run
from tests.small_training import make_training_data
from utils.data.images import write_label_png
from utils.files.locate import PROJECT_ROOT


@pytest.fixture
def data(tmp_path):
    """Nine images of cats and dogs with saliency; p0 (cat) and p1 (dog) have masks."""
    folder = make_training_data(tmp_path, count=9)
    for name, value in (("p0", 1), ("p1", 2)):
        write_mask(folder, name, value)
    (folder / "train.txt").write_text("p0\np1\n")
    return folder


def write_mask(folder, name, value, size=(36, 44)):
    mask = np.zeros(size, np.uint8)
    mask[:9, :9] = value
    write_label_png(folder / "SegmentationClass" / f"{name}.png", mask)


def check(data, **more):
    return run(CheckOptions(**{"dataset": str(data), "num_workers": 1, **more}))


def kinds(report):
    return sorted(fault.kind for fault in report.faults)


def test_good_data_is_ready_and_counted(data, capsys):
    report = check(data)
    assert report.is_ready and len(report.warnings) == 1 and "cat 6, dog 6" in report.warnings[0]  # few
    assert report.images_of_class == {"cat": 6, "dog": 6}
    assert report.masks_of_class == {"cat": 1, "dog": 1}
    assert (report.images, report.masks) == (9, 2)
    assert "fault:" not in capsys.readouterr().out


def test_everything_that_is_wrong_is_told_at_once(data, capsys):
    images, maps, masks = data / "JPEGImages", data / "Sal", data / "SegmentationClass"
    (images / "p0.png").unlink()
    (images / "p1.png").write_bytes((images / "p1.png").read_bytes()[:1500])
    (images / "p2.png").write_bytes(b"")
    Image.fromarray(np.zeros((36, 44), np.uint16)).save(images / "p3.png")
    (maps / "p4.png").unlink()
    Image.new("L", (44, 35)).save(maps / "p5.png")
    Image.new("RGB", (44, 36), "red").save(maps / "p6.png")
    write_mask(data, "p0", 7)
    write_mask(data, "p4", 1, size=(44, 36))
    Image.new("RGB", (44, 36)).save(masks / "p5.png")
    (data / "train.txt").write_text("p0\np1\np4\np5\np6\n")
    with (data / "train_cls.txt").open("a") as file:
        file.write("p0 0\nq 2\nr cat\ns\n")
    report = check(data)
    assert kinds(report) == sorted([
        "images missing", "images unreadable", "images unreadable", "images without 8 bits per channel",
        "saliency maps missing", "saliency maps of another size than their image", "saliency maps that are not grey",
        "masks with invalid values", "masks of another size than their image",
        "masks that are not label maps", "masks missing",
        *["image lists with wrong lines"] * 4,
    ])  # fmt: skip
    printed = capsys.readouterr().out
    for part in (
        "train_cls.txt:10 (p0", "train_cls.txt:11 (tag 2", "train_cls.txt:12 ('cat'", "train_cls.txt:13 (s",
        "JPEGImages/p0.jpg", "Sal/p5.png (44x35, image 44x36)", "SegmentationClass/p0.png (7)",
        "SegmentationClass/p5.png (is an RGB image)", "15 faults",
    ):  # fmt: skip
        assert part in printed, part


def test_data_is_read_whole_and_not_by_its_headers(data):
    file = data / "Sal" / "p8.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 44), dtype=np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:-400])
    assert kinds(check(data)) == ["saliency maps unreadable"]


def test_classes_without_images_and_turned_photos_are_warned_of(data):
    (data / "classes.txt").write_text("cat\ndog\nemu\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(data / "JPEGImages" / "p3.png") as image:
        image.load()
        image.save(data / "JPEGImages" / "p3.png", exif=exif)
    report = check(data)
    assert report.is_ready
    assert any("emu" in warning for warning in report.warnings)
    assert any("p3" in warning and "scripts/prepare_own.py" in warning for warning in report.warnings)


def test_masks_that_show_none_of_the_tags_are_warned_of(data):
    write_mask(data, "p0", 2)
    report = check(data)
    assert report.is_ready and any("1 of 2" in warning and "p0" in warning for warning in report.warnings)


def test_other_places_and_no_saliency(data, tmp_path):
    (data / "Sal").rename(tmp_path / "maps")
    assert kinds(check(data)) == ["saliency maps missing"] * 9
    assert check(data, sal_dir="none").is_ready
    assert check(data, sal_dir=str(tmp_path / "maps")).is_ready
    (tmp_path / "few.txt").write_text("p0 0\n")
    assert check(data, sal_dir="none", train_list=str(tmp_path / "few.txt")).images == 1


def test_without_masks_training_can_start_but_nothing_is_measured(data):
    (data / "train.txt").unlink()
    report = check(data)
    assert report.is_ready and report.masks == 0
    assert any("train.txt" in warning and "--threshold" in warning for warning in report.warnings)


def test_a_missing_list_is_a_fault(data):
    (data / "train_cls.txt").unlink()
    report = check(data)
    assert not report.is_ready and report.faults[0].where == str(data / "train_cls.txt")


def test_the_program_writes_its_report_and_leaves_with_the_status(data, tmp_path):
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "check_data.py"), f"--dataset={data}", "--num_workers=1"]
    assert subprocess.run([*command, "--json=r.json"], cwd=tmp_path, capture_output=True).returncode == 0
    assert json.loads((tmp_path / "r.json").read_text())["training_can_start"] is True
    (data / "Sal" / "p0.png").unlink()
    assert subprocess.run([*command, "--json=r.json"], cwd=tmp_path, capture_output=True).returncode == 1
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["training_can_start"] is False
    assert [fault["kind"] for fault in report["faults"]] == ["saliency maps missing"]
