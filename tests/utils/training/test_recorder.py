"""Records of a training run: averages, metrics.jsonl, silence in other processes."""

import json
import logging

from utils.runs.paths import RunPaths
from utils.training.recorder import Averages, Clock, MetricsFile, Recorder
from utils.training.settings import Run, Saving

SAVING = Saving("epoch", interval=10, keep_every=10, keep=1, minutes=1.0, log_every=1)


def make_recorder(folder, saving=SAVING, **more):
    run = Run(
        RunPaths(folder), "a", None, {}, logging.getLogger("l2g"), length="--epochs", initial="--weights", remedy=""
    )
    return Recorder(run, saving, step=0, total=100, **more)


def test_averages_continue_from_their_saved_state():
    whole = Averages()
    for value in (1.0, 2.0, 6.0):
        whole.add({"loss": value, "other": 2 * value})
    begun = Averages()
    begun.add({"loss": 1.0, "other": 2.0})
    saved = json.loads(json.dumps(begun.sums))
    resumed = Averages(saved)
    for value in (2.0, 6.0):
        resumed.add({"loss": value, "other": 2 * value})
    assert resumed.means() == whole.means() == {"loss": 3.0, "other": 6.0}
    assert saved == {"loss": [1.0, 1], "other": [2.0, 1]}


def test_metrics_after_the_step_that_a_run_resumes_from_are_removed(tmp_path):
    path = tmp_path / "exp" / "metrics.jsonl"
    first = MetricsFile(path, step=0)
    for epoch in range(3):
        first.write({"epoch": epoch, "step": 10 * (epoch + 1)})
    second = MetricsFile(path, step=20)
    second.write({"epoch": 2, "step": 30, "loss": 0.5})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"epoch": 0, "step": 10}, {"epoch": 1, "step": 20}, {"epoch": 2, "step": 30, "loss": 0.5}]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.jsonl"]


def test_half_a_line_of_a_killed_run_is_removed(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0, "step": 10}\n{"epoch": 1, "st')
    MetricsFile(tmp_path / "metrics.jsonl", step=20).write({"epoch": 1, "step": 20})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]


def test_recorder_is_silent_beside_the_main_process(tmp_path):
    with make_recorder(tmp_path / "exp", is_main=False) as recorder:
        recorder.step(0, {"loss": 1.0}, rate_factor=1.0)
        recorder.interval(10, {"loss": 1.0})
    assert not (tmp_path / "exp").exists()


def test_recorder_averages_the_recent_steps_only(tmp_path):
    with make_recorder(tmp_path / "exp", is_main=False) as recorder:
        for step in range(100):
            recorder.step(step, {"tags": 1.0 if step < 50 else 0.25}, rate_factor=1.0)
        assert recorder.recent() == {"tags": 0.25}


def test_steps_per_second_are_those_of_the_interval(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("utils.training.recorder.time.monotonic", lambda: now[0])
    with make_recorder(tmp_path / "exp", is_main=True) as recorder:
        for now[0], steps in ((5.0, 10), (7.0, 20)):
            recorder.interval(steps, {"loss": 1.0})
    lines = [json.loads(line) for line in (tmp_path / "exp" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["steps_per_second"]) for line in lines] == [(0, 10, 2.0), (1, 20, 5.0)]


def test_clock_is_due_once_a_period(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock, due = Clock(1.0), []
    for now[0] in (59.0, 60.0, 61.0, 119.0, 121.0):
        due.append(clock.due())
    assert due == [False, True, False, False, True]
