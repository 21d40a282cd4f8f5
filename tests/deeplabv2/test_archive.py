"""The archive for the evaluation server: its content, and which labels are refused."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from deeplabv2.archive import FOLDER, competition_of, pack
from deeplabv2.setting_groups import ModelSettings
from deeplabv2.settings import parse_settings
from deeplabv2.step_settings import ArchiveSettings
from utils.data.images import write_image, write_label_png
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("2008_1", "2008_2")):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((4, 6 + index, 3), np.uint8))
        write_label_png(tmp_path / "labels" / f"{name}.png", np.full((4, 6 + index), index, np.uint8))
    return tmp_path


def pack_folder(folder, *, competition="comp5", archive="results.tar.gz"):
    names = ("2008_1", "2008_2")
    files, labels = ({name: folder / kind / f"{name}.png" for name in names} for kind in ("images", "labels"))
    pack(folder / archive, names, labels, files, folder=FOLDER.format(competition=competition), num_labels=2)


@pytest.mark.parametrize("competition", ["comp5", "comp6"])
def test_archive_holds_every_label_where_the_server_looks(folder, competition):
    pack_folder(folder, competition=competition)
    with tarfile.open(folder / "results.tar.gz", "r:gz") as tar:
        names = tar.getnames()
        assert names == [f"results/VOC2012/Segmentation/{competition}_test_cls/2008_{i}.png" for i in (1, 2)]
        image = Image.open(tar.extractfile(names[1]))
        assert image.mode == "P" and image.size == (7, 4)
        assert (np.asarray(image) == 1).all()
        assert image.getpalette()[3:6] == [128, 0, 0]


def test_equal_labels_give_equal_bytes(folder):
    pack_folder(folder, archive="one.tar.gz")
    pack_folder(folder, archive="two.tar.gz")
    assert (folder / "one.tar.gz").read_bytes() == (folder / "two.tar.gz").read_bytes()


def spoil(path, kind):
    if kind == "missing":
        path.unlink()
    elif kind == "size":
        write_label_png(path, np.zeros((4, 7), np.uint8))
    elif kind == "value":
        write_label_png(path, np.full((4, 6), 255, np.uint8))
    elif kind == "grey":
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    elif kind == "palette":
        image = Image.fromarray(np.zeros((4, 6), np.uint8))
        image.putpalette([7] * 768)
        image.save(path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "2008_1"),
        ("size", "2008_1.png is 7x4"),
        ("value", "255: expected 0 to 1"),
        ("grey", "mode L"),
        ("palette", "2008_1.png"),
    ],
)
def test_what_the_server_would_refuse_is_refused_before_anything_is_written(folder, kind, message):
    spoil(folder / "labels" / "2008_1.png", kind)
    with pytest.raises(UserError, match=r"1 of 2 ") as error:
        pack_folder(folder)
    assert message in str(error.value)
    assert not (folder / "results.tar.gz").exists()


@pytest.mark.parametrize(
    ("init", "given", "expected"),
    [
        ("data/models/coco/deeplabv1_resnet101-coco.pth", "auto", "comp6"),
        ("data/weights/deeplabv1_resnet101-imagenet.pth", "auto", "comp5"),
        (None, "auto", "comp5"),
        ("deeplabv1_resnet101-coco.pth", "comp5", "comp5"),
    ],
)
def test_networks_that_saw_masks_of_coco_compete_in_comp6(init, given, expected):
    settings = ArchiveSettings(MODEL=ModelSettings(INIT_MODEL=init), competition=given)
    assert competition_of(settings) == expected


@pytest.mark.parametrize(("preset", "expected"), [("coco", "comp6"), ("imagenet", "comp5")])
def test_the_presets_compete_by_their_initial_weights(preset, expected):
    config = PROJECT_ROOT / "deeplabv2" / "configs" / f"voc12_{preset}_pretrained.yaml"
    assert competition_of(parse_settings([f"--config-path={config}"], settings_class=ArchiveSettings)) == expected
