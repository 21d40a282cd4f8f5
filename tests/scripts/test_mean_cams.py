import json

import numpy as np
import pytest

from scripts import mean_cams
from tests.small_run import make_small_run
from utils.cam.artefact import read_cam, write_cam
from utils.config.options import TrainOptions
from utils.config.options.cams import MeanCamsOptions
from utils.config.parser import parse_options, save_options
from utils.errors import UserError


@pytest.fixture
def folders(tmp_path):
    """A run, and a second folder whose CAMs are the same with the keys in reverse order, and all values 101."""
    names = make_small_run(tmp_path)
    run = tmp_path / "runs" / "exp" / "cam"
    save_options(TrainOptions(**names), run.parent / "config.yaml")
    other = tmp_path / "other"
    for path in run.glob("*.npz"):
        keys, cams = read_cam(path)
        write_cam(other / path.name, keys[::-1], np.full_like(cams, 101))
    common = {"experiment_name": names["experiment_name"], "runs_dir": names["runs_dir"]}
    return run, other, {**common, "other_dirs": (str(other),), "out": str(tmp_path / "mean"), "num_workers": 1}


def test_the_mean_is_that_of_the_same_class(folders):
    run, other, options = folders
    keys, cams = read_cam(run / "b.npz")
    assert len(keys) == 2
    second = np.stack([np.full_like(cams[0], 40), np.full_like(cams[0], 201)])
    write_cam(other / "b.npz", keys[::-1], second)
    out = mean_cams.run(MeanCamsOptions(**options))
    found, mean = read_cam(out / "b.npz")
    assert found.tolist() == keys.tolist()
    expected = (cams.astype(int) + second[::-1]) / 2
    assert np.abs(mean - expected).max() <= 0.5


def test_all_classifiers_have_the_same_weight(folders, tmp_path):
    run, other, options = folders
    third = tmp_path / "a, [third] 'one'"
    for path in other.glob("*.npz"):
        keys, cams = read_cam(path)
        write_cam(third / path.name, keys, np.full_like(cams, 7))
    words = [f"--{name}={value}" for name, value in options.items() if name != "other_dirs"]
    given = parse_options(MeanCamsOptions, [*words, "--other_dirs=" + json.dumps([str(other), str(third)])])
    out = mean_cams.run(given)
    expected = (read_cam(run / "a.npz")[1].astype(int) + 101 + 7) / 3
    assert np.abs(read_cam(out / "a.npz")[1] - expected).max() <= 0.5


def test_finished_means_are_kept_and_those_of_changed_cams_made_again(folders, capsys):
    run, other, options = folders
    mean_cams.run(MeanCamsOptions(**options))
    number = len(list(run.glob("*.npz")))
    mean_cams.run(MeanCamsOptions(**options))
    assert f"0 CAMs averaged, {number} kept" in capsys.readouterr().err
    keys, cams = read_cam(other / "a.npz")
    write_cam(other / "a.npz", keys, np.zeros_like(cams))
    out = mean_cams.run(MeanCamsOptions(**options))
    assert f"1 CAMs averaged, {number - 1} kept" in capsys.readouterr().err
    assert read_cam(out / "a.npz")[1].max() <= 128


def test_cams_that_do_not_match_are_refused(folders):
    _, other, options = folders
    keys, cams = read_cam(other / "a.npz")
    write_cam(other / "a.npz", keys, cams[:, :-1])
    with pytest.raises(UserError, match=r"a\.npz.*expected those of"):
        mean_cams.run(MeanCamsOptions(**options))
    (other / "a.npz").unlink()
    with pytest.raises(UserError, match=r"1 of \d+ CAMs are missing|a\.npz"):
        mean_cams.run(MeanCamsOptions(**options))


def test_other_folders_need_update(folders, tmp_path):
    _, other, options = folders
    mean_cams.run(MeanCamsOptions(**options))
    renamed = other.rename(tmp_path / "third")
    changed = {**options, "other_dirs": (str(renamed),)}
    with pytest.raises(UserError, match="of other settings"):
        mean_cams.run(MeanCamsOptions(**changed))
    mean_cams.run(MeanCamsOptions(**changed, update=True))
    with pytest.raises(UserError, match="would be replaced"):
        mean_cams.run(MeanCamsOptions(**{**changed, "out": str(renamed)}))


@pytest.mark.parametrize("given", [[], ["--other_dirs=cams"], ["--out=mean"]])
def test_both_folders_must_be_given(given, capsys):
    with pytest.raises(SystemExit):
        parse_options(MeanCamsOptions, given)
    assert "is not given" in capsys.readouterr().err
