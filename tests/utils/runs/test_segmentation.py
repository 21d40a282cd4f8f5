"""The segmentation network's results are found in any output folder."""

import pytest

from utils.files.locate import DEEPLAB_ROOT
from utils.runs.segmentation import SegmentationPaths, notes_kept, result_dirs


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.files.locate.PROJECT_ROOT", tmp_path / "project")
    return tmp_path / "project"


def test_a_relative_output_dir_lies_beside_the_network():
    paths = SegmentationPaths.of("data", "exp", "second")
    assert paths.scores == DEEPLAB_ROOT / "data" / "scores" / "exp" / "second" / "scores.json"
    assert paths.logits_dir("lists/val.txt") == DEEPLAB_ROOT / "data/features/exp/second/val/logits"


def test_results_are_found_in_the_usual_folder_and_in_those_that_were_remembered(project, tmp_path):
    usual, other = SegmentationPaths.of("data", "exp", None), SegmentationPaths.of(str(tmp_path / "other"), "exp", "r")
    assert result_dirs("scores", "exp") == []
    for paths in (usual, other, other):
        paths.score_dir.mkdir(parents=True, exist_ok=True)
        paths.remember()
    assert result_dirs("scores", "exp") == [project / "deeplabv2/data/scores/exp", tmp_path / "other/scores/exp"]
    assert result_dirs("scores", "another") == [] and result_dirs("features", "exp") == []


def test_the_usual_folder_needs_no_note(project):
    SegmentationPaths.of("data", "exp", None).remember()
    assert not project.exists()


def test_a_note_that_cannot_be_written_does_not_end_the_program(project, tmp_path, capsys):
    project.write_text("a file where the project should be")
    SegmentationPaths.of(str(tmp_path / "other"), "exp", None).remember()
    assert "--prediction_dir" in capsys.readouterr().err


def test_notes_of_outputs_that_are_removed_again_are_not_left(project, tmp_path):
    notes = project / "deeplabv2" / "data" / "elsewhere"
    with notes_kept():
        SegmentationPaths.of(str(tmp_path / "out"), "exp", None).remember()
        assert notes.is_dir()
    assert not (project / "deeplabv2" / "data").exists()
    SegmentationPaths.of(str(tmp_path / "mine"), "exp", None).remember()
    (tmp_path / "mine").mkdir()
    before = (notes / "exp.txt").read_text()
    with notes_kept():
        SegmentationPaths.of(str(tmp_path / "out"), "exp", None).remember()
        SegmentationPaths.of(str(tmp_path / "out"), "other", None).remember()
        assert (notes / "exp.txt").read_text() != before
    assert [path.name for path in notes.iterdir()] == ["exp.txt"] and (notes / "exp.txt").read_text() == before
