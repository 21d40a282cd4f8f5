"""Files in the published locations are found there, after this project's own locations."""

import pytest

from deeplabv2 import inputs
from deeplabv2.inference import checkpoint_path
from deeplabv2.settings import DatasetSettings
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.errors import UserError
from utils.files.locate import existing_path, weights_path
from utils.runs.inputs import find_sal_dir
from utils.runs.segmentation import SegmentationPaths

RESNET38 = "data/weights/ilsvrc-cls_rna-a1_cls1000_ep-0001.params"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, with another current folder."""
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    root.mkdir(), elsewhere.mkdir()
    monkeypatch.setattr("utils.files.locate.PROJECT_ROOT", root)
    monkeypatch.chdir(elsewhere)
    return root


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a 0\n")
    return path


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (RESNET38, "models/ilsvrc-cls_rna-a1_cls1000_ep-0001.params"),
        (RESNET38, "models/resnet38_dict.pth"),
        ("data/weights/deeplabv1_resnet101-coco.pth", "deeplabv2/weights/deeplabv1_resnet101-coco.pth"),
        ("data/weights/deeplabv1_resnet101-imagenet.pth", "deeplabv2/weights/deeplabv1_resnet101-imagenet.pth"),
    ],
)
def test_weights_are_found_where_they_were_published(project, here, there):
    with pytest.raises(UserError, match=there):
        weights_path(here)
    published = touch(project / there)
    assert weights_path(here) == published
    own = touch(project / here)
    assert weights_path(here) == own


SEGMENTATION_LIST = "ImageSets/SegmentationAug/val.txt"


@pytest.mark.parametrize(
    "there", [SEGMENTATION_LIST, "val1.txt", f"../../deeplabv2/VOCdevkit/VOC2012/{SEGMENTATION_LIST}"]
)
def test_lists_are_found_where_they_were_published(project, there):
    (project / "data" / "voc12").mkdir(parents=True)
    data = open_dataset("data/voc12")
    with pytest.raises(UserError) as missing:
        read_image_list(data.named_list("val", "x"), 20)
    published = touch(data.root / there)
    assert str(published.resolve()) in str(missing.value)
    assert data.named_list("val", "x").resolve() == published.resolve()
    own = touch(data.root / "val.txt")
    assert data.named_list("val", "x") == own and data.named_list("val.txt", "x") == own


def test_a_list_is_also_a_path(project):
    data = open_dataset("data/voc12")
    assert data.named_list(str(touch(project / "mine.txt")), "x") == project / "mine.txt"
    with pytest.raises(UserError):
        data.named_list("no/such.txt", "x")


def test_the_devkit_is_voc12(project):
    devkit = project / "deeplabv2" / "VOCdevkit" / "VOC2012"
    (devkit / "JPEGImages").mkdir(parents=True)
    for name in ("data/voc12", "voc2012", "pascal_voc", str(devkit), str(devkit.parent)):
        data = open_dataset(name)
        assert (data.root, data.name, len(data.classes)) == (devkit, "voc12", 20)
    (devkit / "SegmentationClassAug").mkdir()
    assert data.mask_dir == devkit / "SegmentationClassAug"
    labels = devkit / "pseudo_seg_labels"
    assert inputs.training_labels_dir(DatasetSettings(), data, "exp")[0] == project / "data/voc12/pseudo_seg_labels_exp"
    labels.mkdir()
    assert inputs.training_labels_dir(DatasetSettings(), data, "exp")[0] == labels


def test_a_trained_network_is_found_where_it_was_published(tmp_path):
    training = SegmentationPaths.of(str(tmp_path), "exp", None).training
    with pytest.raises(UserError, match="deeplabv2_resnet101_msc"):
        checkpoint_path(None, training)
    published = touch(training.root / "deeplabv2_resnet101_msc" / "train_aug" / "checkpoint_final.pth")
    assert checkpoint_path(None, training) == published
    assert checkpoint_path(None, training) != touch(training.final) == checkpoint_path(None, training)


def test_a_bare_name_of_saliency_maps_is_looked_for_beside_the_images(project):
    data, photos = open_dataset("data/voc12"), project / "photos"
    (photos / "JPEGImages").mkdir(parents=True)
    assert find_sal_dir(data, str(photos), None) == data.sal_dir
    assert find_sal_dir(data, str(photos), "none") is None
    with pytest.raises(UserError):
        find_sal_dir(data, str(photos), "PoolNet")
    (photos / "PoolNet").mkdir()
    for image_dir in (photos, photos / "JPEGImages"):
        assert find_sal_dir(data, str(image_dir), "PoolNet") == photos / "PoolNet"
    (photos / "Sal").mkdir()
    assert find_sal_dir(data, str(photos), None) == find_sal_dir(data, str(photos), "Sal") == photos / "Sal"
    data.sal_dir.mkdir(parents=True)
    assert find_sal_dir(data, str(photos), None) == find_sal_dir(data, None, "Sal") == data.sal_dir
    assert existing_path(str(photos), "x") == photos
