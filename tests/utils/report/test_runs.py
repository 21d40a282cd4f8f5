import json

import pytest

from tests.report_run import scores, write_numbers
from utils.config.options import TrainOptions
from utils.errors import UserError
from utils.report.runs import changed_options, read_curves, read_run, read_runs
from utils.report.tables import class_bars, option_rows, version_rows
from utils.runs.paths import RunPaths
from utils.runs.segmentation import SegmentationPaths


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs, `exp` and the better `other`, in a project without segmentation results."""
    monkeypatch.setattr("utils.files.locate.PROJECT_ROOT", tmp_path)
    for name, gain in (("exp", 0.0), ("other", 0.25)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        write_numbers(tmp_path / "runs" / name, gain=gain)
    return tmp_path


def test_numbers_of_every_stage_are_read(runs):
    run = read_run(RunPaths.of(runs / "runs", "exp"))
    assert [(stage.stage, stage.mean_iou, stage.images) for stage in run.stages] == [
        ("CAMs", 0.5, 3),
        ("Pseudo labels", 0.625, 3),
    ]
    assert run.stages[0].detail == "at the best threshold, 0.5"
    assert run.stages[0].class_iou == {"background": 0.9, "cat": 0.5, "dog": None}
    assert run.thresholds == [(0.3, 0.4), (0.5, 0.5)]
    assert run.curves == {"transfer": [(0, 2.0), (1, 1.0)], "active_tags": [(0, 0.5), (1, 0.75)]}
    assert (run.versions, run.notes, run.dataset) == ({"torch": "2.14.1"}, [], "toy")


def test_scores_of_a_changed_output_dir_are_found(runs):
    paths = SegmentationPaths.of(str(runs / "elsewhere"), "exp", None)
    paths.score_dir.mkdir(parents=True)
    paths.scores.write_text(json.dumps(scores(0.6, background=0.9, cat=0.6)))
    paths.remember()
    stages = read_run(RunPaths.of(runs / "runs", "exp")).stages
    assert (stages[-1].stage, stages[-1].mean_iou) == ("Segmentation", 0.6)


def test_scores_of_the_segmentation_network_join_them(runs):
    folder = runs / "deeplabv2" / "data" / "scores" / "exp" / "voc12"
    folder.mkdir(parents=True)
    for name, mean in (("scores", 0.6), ("scores_crf", 0.65)):
        (folder / f"{name}.json").write_text(json.dumps(scores(mean, background=0.9, cat=mean)))
    stages = read_run(RunPaths.of(runs / "runs", "exp")).stages
    assert [(s.stage, s.mean_iou) for s in stages[2:]] == [("Segmentation", 0.6), ("Segmentation + CRF", 0.65)]
    other = folder.with_name("coco")
    other.mkdir()
    (other / "scores.json").write_text(json.dumps(scores(0.7, cat=0.7)))
    stages = read_run(RunPaths.of(runs / "runs", "exp")).stages
    assert [s.stage for s in stages[2:]] == ["Segmentation coco", "Segmentation voc12", "Segmentation voc12 + CRF"]


def test_what_a_run_does_not_have_is_told_with_the_remedy(tmp_path):
    (tmp_path / "bare").mkdir()
    run = read_run(RunPaths.of(tmp_path, "bare"))
    assert (run.stages, run.options, run.curves) == ([], {}, {})
    assert "run evaluate.py --experiment_name bare" in " ".join(run.notes)
    with pytest.raises(UserError, match=r"nowhere: .*--compare"):
        read_runs(str(tmp_path), ["bare", "nowhere"])


def test_files_of_another_kind_are_named(runs):
    run = RunPaths.of(runs / "runs", "exp")
    run.cam_scores.write_text("{}")
    with pytest.raises(UserError, match=r"exp: .*'thresholds': .*evaluate\.py --experiment_name exp"):
        read_run(run)
    run.cam_scores.write_text("mIoU 0.5")
    with pytest.raises(UserError, match=r"cam_scores\.json"):
        read_run(run)


def test_curves_leave_out_what_is_not_finite_and_take_the_later_of_two(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1, "step": 9, "loss": 3}\n{"epoch": 0, "loss": NaN}\n{"epoch": 1, "loss": 2}\n')
    assert read_curves(path) == {"loss": [(1.0, 2.0)]}
    path.write_text('{"epoch": 1, "loss": 3}\n{"epoch": 2, "lo')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: .*train_l2g\.py"):
        read_curves(path)


def test_options_show_what_differs_from_the_defaults_or_between_runs(runs):
    first, second = read_runs(str(runs / "runs"), ["exp", "other"])
    assert changed_options({"lr": TrainOptions().lr, "epochs": 3, "gone": 1}) == {"epochs", "gone"}
    alone = {row.name for row in option_rows([first]) if row.notable}
    assert alone == {"epochs", "lr"}
    beside = {row.name: row.values for row in option_rows([first, second]) if row.notable}
    assert beside == {"lr": ["0.01", "0.26"]}
    assert [(row.name, row.notable) for row in version_rows([first, second])] == [("torch", False)]


def test_bars_are_stages_of_one_run_or_runs_of_one_stage(runs):
    first, second = read_runs(str(runs / "runs"), ["exp", "other"])
    (chart,) = class_bars([first])
    assert [name for name, _ in chart.series] == ["CAMs", "Pseudo labels"]
    assert {name: [bar.value for bar in bars] for name, bars in chart.rows} == {
        "mean": [0.5, 0.625],
        "background": [0.9, 0.8],
        "cat": [0.5, 0.7],
        "dog": [None, 0.375],
    }
    charts = class_bars([first, second])
    assert [chart.title for chart in charts] == ["IoU by class: CAMs", "IoU by class: Pseudo labels"]
    assert [bar.value for bar in charts[0].rows[0][1]] == [0.5, 0.75]
