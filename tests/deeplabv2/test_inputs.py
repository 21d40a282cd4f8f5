"""Data settings in published YAML files: names, missing class lists, VOC's own folder."""

import pytest

from deeplabv2 import inputs, train
from deeplabv2.setting_groups import DatasetSettings
from deeplabv2.settings import Settings
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.data.catalog import VOC_CLASSES
from utils.data.image_list import read_image_list
from utils.errors import UserError


@pytest.fixture
def devkit(tmp_path):
    """VOCdevkit/VOC2012 with the published lists of path pairs."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/SegmentationAug"):
        (root / folder).mkdir(parents=True)
    for name in ("train_aug", "val"):
        line = "/JPEGImages/2007_000001.jpg /SegmentationClassAug/2007_000001.png\n"
        (root / "ImageSets" / "SegmentationAug" / f"{name}.txt").write_text(line)
    return root


@pytest.mark.parametrize("below", ["", "VOC2012"])
def test_the_devkit_is_a_dataset_with_its_own_lists(devkit, below):
    root = devkit if below else devkit.parent
    settings = DatasetSettings(NAME="vocaug", ROOT=str(root), LABELS="./labels_2.txt", N_CLASSES=21)
    data = inputs.open_data(settings)
    assert data.classes == VOC_CLASSES
    assert inputs.find_image_dir(settings, data) == devkit / "JPEGImages"
    assert inputs.find_mask_dir(settings, data) == devkit / "SegmentationClassAug"
    for name in ("train_aug", "val"):
        listing = inputs.list_path(data, name, "DATASET.SPLIT.TRAIN")
        assert listing == devkit / "ImageSets" / "SegmentationAug" / f"{name}.txt"
        assert [entry.name for entry in read_image_list(listing, 20)] == ["2007_000001"]


def test_a_published_name_gives_the_classes_of_a_folder_of_any_name(tmp_path):
    (tmp_path / "mine" / "JPEGImages").mkdir(parents=True)
    settings = DatasetSettings(NAME="vocaug", ROOT=str(tmp_path / "mine"))
    assert inputs.open_data(settings).classes == VOC_CLASSES
    (tmp_path / "mine" / "classes.txt").write_text("cat\n")
    assert inputs.open_data(settings).classes == ("cat",)
    assert DatasetSettings(NAME="vocaug").folder == "data/voc12"


def test_a_missing_list_of_classes_stops_only_what_knows_no_classes(tmp_path, capsys):
    (tmp_path / "mine" / "JPEGImages").mkdir(parents=True)
    settings = DatasetSettings(ROOT=str(tmp_path / "mine"), LABELS=str(tmp_path / "labels.txt"))
    with pytest.raises(UserError, match=r"labels\.txt"):
        inputs.open_data(settings)
    (tmp_path / "mine" / "classes.txt").write_text("cat\ndog\n")
    assert inputs.open_data(settings).classes == ("cat", "dog")
    assert "labels.txt" in capsys.readouterr().err


def test_an_empty_side_of_crops_is_one_error_of_training(tmp_path):
    data = make_segmentation_data(tmp_path)
    settings = small_settings(data, Settings, IMAGE__SIZE__TRAIN=None)
    inputs.open_data(settings.DATASET)  # commands that do not crop work
    with pytest.raises(UserError, match=r"IMAGE\.SIZE\.TRAIN.*--IMAGE\.SIZE\.TRAIN=321"):
        train.run(settings)
