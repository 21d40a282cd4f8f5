"""The table of runs prints the scores stored by evaluate.py, and missing ones are an error."""

import json
import re

import pytest

from scripts.show_scores import ShowOptions, run
from utils.errors import UserError

NETWORK = ["network", "network + CRF"]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Results of the project's own experiments must not be taken for those of these runs."""
    monkeypatch.setattr("utils.runs.segmentation.locate.PROJECT_ROOT", tmp_path / "project")


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
    assert re.split(r" {2,}", header) == ["run", "CAM mIoU", "threshold", "label mIoU", *NETWORK, "classes"]
    assert line.split() == ["exp", "56.7", "%", "0.40", "60.0", "%", "-", "-", "40.0", "%"]


def test_absent_classes_and_missing_labels_are_dashes(runs, capsys):
    run(ShowOptions(experiments=("exp",), runs_dir=str(runs), classes=("cow",)))
    assert capsys.readouterr().out.splitlines()[1].split() == ["exp", "56.7", "%", "0.40", "-", "-", "-", "-"]


def test_the_segmentation_network_stands_beside_its_labels_also_alone(runs, capsys):
    for name, miou in {"exp": 0.5, "masks": 0.7}.items():
        (runs / "seg" / name).mkdir(parents=True)
        (runs / "seg" / name / "scores.json").write_text(json.dumps({"mean_iou": miou}))
    (runs / "seg" / "exp" / "scores_crf.json").write_text(json.dumps({"mean_iou": 0.55}))
    run(ShowOptions(experiments=("exp", "masks"), runs_dir=str(runs), segmentation_dir=str(runs / "seg")))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines[0] == ["exp", "56.7", "%", "0.40", "-", "50.0", "%", "55.0", "%"]
    assert lines[1] == ["masks", "-", "-", "-", "70.0", "%", "-"]


def test_a_run_without_scores_names_the_remedy(runs):
    with pytest.raises(UserError, match=r"evaluate\.py --experiment_name other"):
        run(ShowOptions(experiments=("other",), runs_dir=str(runs)))


def test_an_unknown_class_is_named(runs):
    with pytest.raises(UserError, match=r"bird.*background, cat"):
        run(ShowOptions(experiments=("exp",), runs_dir=str(runs), classes=("bird",)))


def test_a_figure_stands_above_its_expected_range(runs, tmp_path, capsys):
    (tmp_path / "expected.yaml").write_text("my run: {CAM mIoU: [55, 58]}\nother: {CAM mIoU: [80, 90]}\n")
    for title, mark in {"my run": "", "other": " !"}.items():
        run(
            ShowOptions(
                experiments=("exp",), titles=(title,), expected=str(tmp_path / "expected.yaml"), runs_dir=str(runs)
            )
        )
        figures, expected, *note = capsys.readouterr().out.splitlines()[1:]
        assert re.split(r" {2,}", figures)[1] == f"56.7 %{mark}"
        assert expected.split() == (["expected", "55", "to", "58"] if not mark else ["expected", "80", "to", "90"])
        assert len(note) == len(mark.strip())


def test_titles_are_one_for_each_run(runs):
    with pytest.raises(UserError) as error:
        run(ShowOptions(experiments=("exp",), titles=("a", "b"), runs_dir=str(runs)))
    assert error.value.where == "--titles"
