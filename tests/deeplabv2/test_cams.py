"""Class maps of a trained network: only tags compete, and gen_gt.py can read the written maps."""

import numpy as np
import pytest

from deeplabv2 import cams, train
from deeplabv2.cams import class_maps
from deeplabv2.logits import StoredLogits, read_logits
from deeplabv2.settings import Settings
from deeplabv2.step_settings import CamSettings
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.cam.artefact import read_cam
from utils.cam.folders import CamFolder
from utils.cam.labels import to_label
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.errors import UserError


def logits_of(**probabilities):
    """One pixel with the given probabilities of labels l0, l1, ..."""
    labels = np.array([int(name[1:]) for name in probabilities], np.uint8)
    return StoredLogits(labels, np.log(np.array(list(probabilities.values()), np.float16))[:, None, None], (1, 1))


def test_only_background_and_tags_share_the_probability():
    # without label 3: background 0.2, class 0 0.5, class 1 0.1, which are 0.25, 0.625, 0.125 of 0.8
    stored = logits_of(l0=0.2, l1=0.5, l2=0.1, l3=0.2)
    maps = class_maps(stored, np.array([0, 1]))[:, 0, 0]
    # the strongest has the value of the total foreground, the other a fifth of it
    assert maps == pytest.approx([0.75, 0.15], abs=2e-3)


def test_tags_that_the_network_left_out_are_nowhere():
    assert class_maps(logits_of(l0=0.5, l3=0.5), np.array([2, 7]))[:, 0, 0] == pytest.approx([0.5, 0], abs=2e-3)
    assert class_maps(logits_of(l3=1.0), np.array([0]))[0, 0, 0] == 0
    assert class_maps(logits_of(l0=1.0), np.zeros(0, np.int64)).shape == (0, 1, 1)


def test_one_file_an_image_of_the_list_and_another_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.runs.segmentation.locate.PROJECT_ROOT", tmp_path / "project")
    data = make_segmentation_data(tmp_path)
    train.run(small_settings(data, Settings, SOLVER__ITER_MAX=1))
    # t0 shows a cat, t1 a dog, and t2 is tagged with both
    (data / "train_cls.txt").write_text("t0 0\nt1 1\nt2 0 1\n")
    options = {"out": str(tmp_path / "maps"), "num_workers": 1}
    folder = cams.run(small_settings(data, CamSettings, **options))
    dataset = open_dataset(str(data))
    entries = read_image_list(dataset.train_list, len(dataset.classes))
    assert {path.name for path in folder.glob("*.npz")} == {f"{entry.name}.npz" for entry in entries}
    source = CamFolder.open(folder)
    for entry in entries:
        keys, maps = source.files(entry.name, entry.tags).read()
        assert keys.tolist() == list(entry.tags)
        assert set(np.unique(to_label(keys, maps, 0.5))) <= {0, *(key + 1 for key in keys)}
        stored = read_logits(folder / "logits" / f"{entry.name}.npz")
        assert maps.shape[1:] == stored.size
    before = read_cam(folder / f"{entries[0].name}.npz")[1]
    with pytest.raises(UserError, match=r"--overwrite .*--out"):
        cams.run(small_settings(data, CamSettings, **options, TEST__MIRROR=True))
    cams.run(small_settings(data, CamSettings, **options, TEST__MIRROR=True, overwrite=True))
    assert not np.array_equal(read_cam(folder / f"{entries[0].name}.npz")[1], before)
    (data / "train_cls.txt").write_text("t0 0 1\nt1 1\nt2 1\n")  # the logits stay, the maps follow the tags
    kept = (folder / "t1.npz").stat().st_mtime_ns
    cams.run(small_settings(data, CamSettings, **options, TEST__MIRROR=True))
    assert [read_cam(folder / f"{name}.npz")[0].tolist() for name in ("t0", "t1", "t2")] == [[0, 1], [1], [1]]
    assert (folder / "t1.npz").stat().st_mtime_ns == kept
    made = (folder / "t1.npz").read_bytes()
    (folder / "t1.npz").write_bytes(made[:100])  # left by a power failure: made again
    cams.run(small_settings(data, CamSettings, **options, TEST__MIRROR=True))
    assert (folder / "t1.npz").read_bytes() == made
    with pytest.raises(UserError, match="--out"):
        cams.run(small_settings(data, CamSettings))
