"""The plan of train_test_L2G_own.sh: estimates follow from durations measured on this machine."""

import pytest

from scripts.plan_own import STEPS, duration, run
from tests.small_training import make_training_data
from utils.config.options.own import PlanOptions

LEFT = ("train", "cams")


def plan(folder, **more):
    given = {"dataset": str(folder / "toy"), "record": str(folder / "times.jsonl"), "steps": LEFT, "epochs": 4}
    return run(PlanOptions(**{**given, **more}))


def test_no_time_is_said_before_one_is_measured(tmp_path, capsys):
    assert plan(tmp_path) == 0
    printed = capsys.readouterr().out
    assert STEPS["train"].text in printed and "about" not in printed


def test_times_are_in_proportion_to_what_was_measured(tmp_path):
    make_training_data(tmp_path, count=20)
    first = plan(tmp_path, done="saliency", seconds=100)
    assert first > 0
    assert plan(tmp_path, done="saliency", seconds=200) == pytest.approx(2 * first)
    assert plan(tmp_path, done="saliency", seconds=1) == pytest.approx(2 * first)  # only found existing files


def test_presets_take_longer_the_better_they_are(tmp_path):
    make_training_data(tmp_path, count=20)
    steps = {"steps": ("cams", "segmentation", "masks"), "segmentation_epochs": 12, "done": "saliency", "seconds": 100}
    times = [plan(tmp_path, **steps, preset=preset) for preset in ("fast", "balanced", "best", "large")]
    assert times == sorted(times) and len(set(times)) == 4


def test_half_a_line_of_a_killed_run_is_passed_over(tmp_path):
    make_training_data(tmp_path, count=20)
    first = plan(tmp_path, done="saliency", seconds=100)
    with (tmp_path / "times.jsonl").open("a") as file:
        file.write('{"step": "tra')
    assert plan(tmp_path) == pytest.approx(first)


def test_durations_are_readable():
    assert [duration(s) for s in (5, 300, 7200)] == ["5 s", "5 min", "2.0 h"]
