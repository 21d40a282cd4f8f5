"""The pieces of a training loop: refusal of non-finite losses, accumulation, averages, records."""

import copy
import json

import pytest
import torch
from torch import nn

from utils.runs.paths import RunPaths
from utils.training.train_loop import Averages, MetricsFile, NonFiniteLossError, Recorder, Stepper, Timer, check_finite

CPU = torch.device("cpu")


def make_stepper(net, *, accumulate=1, clip_grad=0.0, lr=0.1, momentum=0.0):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    return Stepper(optimizer, accumulate=accumulate, clip_grad=clip_grad, amp="off", device=CPU)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_non_finite_loss_names_the_step_and_every_loss(bad):
    losses = {"transfer": torch.tensor(0.25), "local_cls": torch.tensor(bad)}
    with pytest.raises(NonFiniteLossError, match=rf"step 17: .*transfer=0\.25, local_cls={bad:g}.*--clip_grad"):
        check_finite(losses, step=17)
    check_finite({"transfer": torch.tensor(1e30)}, step=0)


def test_accumulated_batches_equal_one_large_batch():
    torch.manual_seed(0)
    whole, split = nn.Linear(3, 2), nn.Linear(3, 2)
    split.load_state_dict(whole.state_dict())
    images = torch.randn(6, 3)
    one, three = make_stepper(whole, momentum=0.9), make_stepper(split, accumulate=3, momentum=0.9)
    for _ in range(2):  # the second step shows a gradient that was not cleared
        one.backward(whole(images).square().mean())
        one.step()
        for part in images.split(2):
            three.backward(split(part).square().mean())
        three.step()
    for name, value in whole.state_dict().items():
        assert torch.allclose(split.state_dict()[name], value, atol=1e-6)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    before = copy.deepcopy(net)
    stepper = make_stepper(net, clip_grad=0.5, lr=1.0)
    stepper.backward(1000 * net(torch.ones(1, 3)).square().sum())
    stepper.step()
    moved = [(a - b).flatten() for a, b in zip(net.parameters(), before.parameters())]
    assert torch.cat(moved).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_small_gradient_is_not_clipped():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    stepper = make_stepper(net, clip_grad=5.0)
    stepper.backward(net(torch.ones(1, 1)).square().sum())  # the gradient is 2
    stepper.step()
    assert net.weight.item() == pytest.approx(0.8)


def test_averages_go_on_from_their_saved_state():
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


def test_metrics_after_the_step_that_a_run_resumes_from_are_taken_back(tmp_path):
    path = tmp_path / "exp" / "metrics.jsonl"
    first = MetricsFile(path, step=0)
    for epoch in range(3):
        first.write({"epoch": epoch, "step": 10 * (epoch + 1)})
    second = MetricsFile(path, step=20)
    second.write({"epoch": 2, "step": 30, "loss": 0.5})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"epoch": 0, "step": 10}, {"epoch": 1, "step": 20}, {"epoch": 2, "step": 30, "loss": 0.5}]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.jsonl"]


def test_recorder_is_mute_beside_the_main_process(tmp_path):
    with Recorder(RunPaths(tmp_path / "exp"), step=0, log_every=1, main=False) as recorder:
        recorder.step(0, {"loss": 1.0})
        recorder.say("nothing")
        recorder.epoch(0, 1, {"loss": 1.0}, None)
    assert not (tmp_path / "exp").exists()


def test_recorder_averages_the_recent_steps_only(tmp_path):
    with Recorder(RunPaths(tmp_path / "exp"), step=0, log_every=1, main=False) as recorder:
        for step in range(100):
            recorder.step(step, {"tags": 1.0 if step < 50 else 0.25})
        assert recorder.recent("tags") == 0.25


def test_timer_is_due_once_a_period(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    timer, due = Timer(1.0), []
    for now[0] in (59.0, 60.0, 61.0, 119.0, 121.0):
        due.append(timer.due())
    assert due == [False, True, False, False, True]
