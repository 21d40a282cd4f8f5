"""Inputs of later steps: given explicitly, else those the run was trained on, read once."""

import pytest

from tests.small_training import make_training_data
from utils.config.options import TrainOptions
from utils.config.parser import save_options
from utils.errors import UserError
from utils.runs import inputs
from utils.runs.inputs import open_run
from utils.runs.paths import RunPaths


@pytest.fixture
def paths(tmp_path):
    data = make_training_data(tmp_path, count=2)
    listing = tmp_path / "mine.txt"
    listing.write_text("p0 0\n")
    paths = RunPaths.of(tmp_path / "runs", "exp")
    save_options(TrainOptions(dataset=str(data), train_list=str(listing), sal_dir="none"), paths.config)
    return paths


def test_what_is_not_named_is_what_the_run_was_trained_on(paths, tmp_path):
    run = open_run(paths, None)
    assert run.data.name == "toy" and run.train_list(None) == tmp_path / "mine.txt" and run.sal_dir(None) is None
    assert run.image_dir(None) == run.data.image_dir


def test_what_is_named_comes_first(paths, tmp_path):
    run = open_run(paths, None)
    assert run.sal_dir(str(tmp_path / "toy" / "Sal")) == tmp_path / "toy" / "Sal"
    assert run.train_list(str(run.data.train_list)) == run.data.train_list


def test_another_dataset_brings_its_own_lists_and_folders(paths, tmp_path):
    paths.config.unlink()  # no files of the run's training are read
    run = open_run(paths, str(tmp_path / "toy"))
    assert run.train_list(None) == run.data.train_list and run.sal_dir(None) == run.data.sal_dir


def test_options_are_read_once(paths, monkeypatch):
    read = []
    load = inputs.load_options
    monkeypatch.setattr(inputs, "load_options", lambda *args: read.append(args) or load(*args))
    run = open_run(paths, None)
    run.train_list(None), run.sal_dir(None), run.image_dir(None)
    assert len(read) == 1


def test_saliency_that_is_missing_is_counted(paths, tmp_path):
    run = open_run(paths, str(tmp_path / "toy"))
    assert run.saliency_files(["p0"], None) == {"p0": tmp_path / "toy" / "Sal" / "p0.png"}
    with pytest.raises(UserError) as error:
        run.saliency_files(["p0", "ghost"], None)
    assert error.value.where == str(run.data.sal_dir) and "ghost" in error.value.what
    with pytest.raises(UserError):
        open_run(paths, None).saliency_files(["p0"], None)
