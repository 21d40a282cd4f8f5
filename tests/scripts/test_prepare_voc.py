"""The downloads of VOC and SBD are converted to the folder that the scripts read."""

import shutil

import numpy as np
import pytest
from PIL import Image

from scripts.prepare_voc import PrepareVocOptions, run
from tests.small_downloads import SBD_ONLY, VOC_TEST, VOC_TRAIN, VOC_VAL, block_mask, make_sbd, make_voc
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.data.images import read_label
from utils.data.palette import PALETTE
from utils.errors import UserError

TAGS = "7 11 14"


def prepare(folder, **more):
    options = {"voc": str(folder / "VOCdevkit" / "VOC2012"), "out": folder / "voc12", "num_workers": 1, **more}
    return run(PrepareVocOptions(**options))


def lines(path):
    return path.read_text().splitlines()


def test_lists_are_those_that_the_scripts_read(tmp_path, capsys):
    make_voc(tmp_path)
    out = prepare(tmp_path, sbd=str(make_sbd(tmp_path, more=("2011_999999",))))
    assert lines(out / "train.txt") == VOC_TRAIN
    assert lines(out / "val.txt") == VOC_VAL
    assert lines(out / "test.txt") == VOC_TEST
    assert lines(out / "train_aug.txt") == sorted(VOC_TRAIN + SBD_ONLY)
    assert lines(out / "train_cls.txt") == [f"{name} {TAGS}" for name in sorted(VOC_TRAIN + SBD_ONLY)]
    assert lines(out / "val_cls.txt") == [f"{name} {TAGS}" for name in VOC_VAL]
    data = open_dataset(out)
    assert len(read_image_list(data.train_list, 20, need_tags=True)) == 4 and len(data.classes) == 20
    printed = capsys.readouterr().out
    assert "skipped: 1 images of SBD" in printed and "2011_999999" in printed
    assert "train.txt: 2 images: the official list has 1,464" in printed
    assert "train_aug.txt: 4 images: the official list has 10,582" in printed


def test_voc_masks_win_and_sbd_masks_are_converted_to_indexed_pngs(tmp_path):
    make_voc(tmp_path)
    out = prepare(tmp_path, sbd=str(make_sbd(tmp_path)))
    masks = out / "SegmentationClassAug"
    assert sorted(path.stem for path in masks.iterdir()) == sorted(VOC_TRAIN + VOC_VAL + SBD_ONLY)
    assert np.array_equal(read_label(masks / f"{VOC_TRAIN[0]}.png"), block_mask(12))
    converted = Image.open(masks / f"{SBD_ONLY[0]}.png")
    assert converted.mode == "P" and converted.getpalette() == PALETTE.flatten().tolist()
    assert np.array_equal(np.asarray(converted), block_mask(15))


def test_images_are_linked_or_copied_and_a_second_run_changes_nothing(tmp_path):
    voc = make_voc(tmp_path)
    out = prepare(tmp_path)
    assert (out / "JPEGImages").is_symlink() and (out / "JPEGImages").resolve() == (voc / "JPEGImages").resolve()
    assert prepare(tmp_path) == out
    copy = prepare(tmp_path, out=tmp_path / "copy", copy=True)
    assert not (copy / "JPEGImages").is_symlink()
    stamps = {path: path.stat().st_mtime_ns for path in copy.glob("*/*")}
    assert len(stamps) == 9
    prepare(tmp_path, out=tmp_path / "copy", copy=True)
    assert {path: path.stat().st_mtime_ns for path in copy.glob("*/*")} == stamps


def test_sbd_conversion_continues_with_what_is_missing(tmp_path):
    make_voc(tmp_path)
    sbd = str(make_sbd(tmp_path))
    kept, lost = (prepare(tmp_path, sbd=sbd) / "SegmentationClassAug" / f"{name}.png" for name in SBD_ONLY)
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    prepare(tmp_path, sbd=sbd)
    assert lost.is_file() and kept.stat().st_mtime_ns == stamp


def test_voc_alone_trains_on_its_own_train_list(tmp_path, capsys):
    make_voc(tmp_path, test=False)
    out = prepare(tmp_path)
    assert [line.split()[0] for line in lines(out / "train_cls.txt")] == VOC_TRAIN
    assert not (out / "train_aug.txt").exists() and not (out / "test.txt").exists()
    printed = capsys.readouterr().out
    assert "the training list is VOC's train" in printed and "VOC2012test.tar" in printed


def test_a_folder_of_converted_masks_stands_for_sbd(tmp_path):
    made = prepare(tmp_path, sbd=str(make_sbd(tmp_path)), out=tmp_path / "made") if make_voc(tmp_path) else None
    out = prepare(tmp_path, aug=str(made / "SegmentationClassAug"))
    for name in ("train_aug.txt", "train_cls.txt"):
        assert lines(out / name) == lines(made / name)
    assert (out / "SegmentationClassAug").is_symlink()


def test_every_missing_piece_is_named_at_once(tmp_path):
    voc = make_voc(tmp_path)
    shutil.rmtree(voc / "Annotations")
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(UserError, match=r"--voc: .*VOC2012 .*Annotations, ImageSets/Segmentation/val\.txt"):
        prepare(tmp_path)
    assert not (tmp_path / "voc12").exists()


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (f"VOCdevkit/VOC2012/Annotations/{VOC_VAL[0]}.xml", "<annotation>", r"2007_000042\.xml"),
        (
            f"VOCdevkit/VOC2012/Annotations/{SBD_ONLY[0]}.xml",
            "<a><object><name>unicorn</name></object></a>",
            r"2008_000002\.xml: 'unicorn'",
        ),
        (f"VOCdevkit/VOC2012/Annotations/{VOC_VAL[0]}.xml", "<a/>", r"Annotations: 1 .*\(2007_000042\)"),
        (f"VOCdevkit/VOC2012/JPEGImages/{VOC_TRAIN[1]}.jpg", None, r"1 of 3 .*\(2007_000039\.jpg\)"),
        (f"VOCdevkit/VOC2012/Annotations/{SBD_ONLY[1]}.xml", None, r"1 of 5 .*2008_000003\.xml"),
        (f"benchmark_RELEASE/dataset/cls/{SBD_ONLY[1]}.mat", "none", r"2008_000003\.mat: .*GTcls"),
    ],
)
def test_what_is_broken_or_missing_is_named(tmp_path, path, content, message):
    make_voc(tmp_path)
    sbd = make_sbd(tmp_path)
    (tmp_path / path).unlink() if content is None else (tmp_path / path).write_text(content)
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, sbd=str(sbd))
    assert not (tmp_path / "voc12" / "train_cls.txt").exists()


def test_a_folder_that_is_something_else_is_left_alone(tmp_path):
    make_voc(tmp_path)
    (tmp_path / "voc12" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(UserError, match=r"JPEGImages: .*--out"):
        prepare(tmp_path)


def test_two_forms_of_the_same_masks_are_refused():
    with pytest.raises(UserError, match="--sbd and --aug"):
        PrepareVocOptions(voc="a", sbd="b", aug="c")
