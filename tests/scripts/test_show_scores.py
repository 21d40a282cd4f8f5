"""The table of runs prints what evaluate.py stored, and refuses what is not there."""

import json

import pytest

from scripts.show_scores import ShowOptions, run


@pytest.fixture
def runs(tmp_path):
    iou = {"background": 0.9, "cat": 0.5, "dog": 0.3, "cow": None}
    scores = {"best_threshold": 0.4, "best_mean_iou": 0.5667, "thresholds": [{"threshold": 0.4, "class_iou": iou}]}
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "cam_scores.json").write_text(json.dumps(scores))
    return tmp_path


def test_a_run_is_one_line_with_its_scores(runs, capsys):
    (runs / "exp" / "label_scores.json").write_text(json.dumps({"mean_iou": 0.6}))
    run(ShowOptions(experiments=("exp",), runs_dir=str(runs), classes=("cat", "dog")))
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "CAM", "mIoU", "threshold", "label", "mIoU", "classes"]
    assert line.split() == ["exp", "56.7", "%", "0.40", "60.0", "%", "40.0", "%"]


def test_absent_classes_and_missing_labels_are_dashes(runs, capsys):
    run(ShowOptions(experiments=("exp",), runs_dir=str(runs), classes=("cow",)))
    assert capsys.readouterr().out.splitlines()[1].split() == ["exp", "56.7", "%", "0.40", "-", "-"]


def test_a_run_without_scores_names_the_remedy(runs):
    with pytest.raises(FileNotFoundError, match=r"run evaluate.py --experiment_name other first"):
        run(ShowOptions(experiments=("other",), runs_dir=str(runs)))


def test_an_unknown_class_is_named(runs):
    with pytest.raises(ValueError, match=r"\['bird'\] are not among background, cat"):
        run(ShowOptions(experiments=("exp",), runs_dir=str(runs), classes=("bird",)))
