"""The engine on a linear network: accumulation, clipping, reading of values, non-finite losses."""

import json
import logging
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from utils.errors import UserError
from utils.runs.paths import RunPaths
from utils.runtime.process import Process
from utils.training.checkpoint import read_checkpoint
from utils.training.settings import (
    Machine,
    Optimiser,
    Run,
    Sampling,
    Saving,
    Schedule,
    TrainerSettings,
)
from utils.training.task import WHOLE, Losses
from utils.training.trainer import MOST_SKIPPED, NonFiniteLossError, Trainer


@dataclass
class Options:
    """The settings of a run."""

    name: str = "toy"


class Linear:
    """Trains a linear layer to output 0. `bad` maps a step to the factor on its loss."""

    def __init__(self, *, bad=None):
        torch.manual_seed(0)
        self.network = nn.Linear(3, 2)
        self.samples = Points()
        self.bad, self.calls, self.fails = bad or {}, 0, None

    parts = (WHOLE,)

    def losses(self, network, batch, part):
        factor = self.bad.get(self.calls, 1.0)
        self.calls += 1
        if self.fails:
            raise self.fails
        output = network(batch["images"].flatten(1)).square()
        return Losses({"first": factor * output[:, 0].mean(), "second": output[:, 1].mean()}, {"value": output.sum()})

    def parameter_groups(self):
        return [{"params": list(self.network.parameters()), "base_lr": 0.1}]

    def checkpoint(self):
        return {"state_dict": self.network.state_dict()}

    def restore(self, state, *, path):
        self.network.load_state_dict(state["state_dict"])

    def fold_norms(self, network):
        pass

    def end_of_interval(self, recent):
        return None


class Points:
    """Twelve points; a sample does not depend on the epoch."""

    def __init__(self):
        self.points = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.points)

    def __getitem__(self, key):
        return {"images": self.points[key[1]][None, None]}


ALONE = Process(0, 1, torch.device("cpu"))


def make_trainer(folder, task, *, process=ALONE, steps=6, batch_size=2, accumulate=1, latest=None, amp="off", **more):
    settings = TrainerSettings(
        Optimiser("sgd", **{"lr": 0.1, **more}),
        Schedule(steps, kind="step"),
        Machine(amp=amp),
        Sampling(batch_size, accumulate, seed=0, whole_epochs=True),
        Saving("iter", interval=4, keep_every=2, keep=10, minutes=0.0, log_every=3),
    )
    log = logging.getLogger("l2g")
    run = Run(
        RunPaths(folder), "toy", Options(), {}, log, length="--n", initial="--w", remedy="lower --lr", latest=latest
    )
    return Trainer(task, settings, run, process)


def test_accumulated_batches_are_one_larger_batch(tmp_path):
    whole, split = Linear(), Linear()
    make_trainer(tmp_path / "a", whole, batch_size=6, steps=4).fit()
    make_trainer(tmp_path / "b", split, batch_size=2, accumulate=3, steps=4).fit()
    start = Linear().network.state_dict()
    for name, value in whole.network.state_dict().items():
        assert torch.allclose(split.network.state_dict()[name], value, atol=1e-6)
        assert not torch.allclose(start[name], value, atol=1e-2)
    states = [read_checkpoint(tmp_path / name / "model" / "toy_iter_4.pth") for name in ("a", "b")]
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("a", "b")]
    assert all('"first": ' in text for text in metrics)
    assert states[0]["step"] == states[1]["step"] == 4


class InParts(Linear):
    """The same losses, each from a part of its own; the second needs what the first has computed."""

    parts = ("first", "second")

    def losses(self, network, batch, part):
        output = super().losses(network, batch, WHOLE)
        if part == "first":
            return Losses({"first": output.losses["first"]}, passed={"value": output.values["value"].detach()})
        return Losses({"second": output.losses["second"]}, {"value": batch["value"]})


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_losses_in_parts_are_those_of_one_part(tmp_path, amp):
    files = [make_trainer(tmp_path / t.__name__, t(), accumulate=2, amp=amp).fit() for t in (Linear, InParts)]
    one, other = map(read_checkpoint, files)
    assert torch.allclose(one["state_dict"]["weight"], other["state_dict"]["weight"])
    assert one["averages"] == pytest.approx(other["averages"])


def test_a_part_is_computed_after_the_backward_pass_of_the_one_before(tmp_path):
    class Watched(InParts):
        def losses(self, network, batch, part):
            gradients.append((part, network.weight.grad is not None))
            return super().losses(network, batch, part)

    gradients = []
    make_trainer(tmp_path, Watched(), steps=2).fit()
    assert gradients == [("first", False), ("second", True)] * 2


@pytest.mark.parametrize(("bound", "norm"), [(0.5, 0.5), (1e6, None)])
def test_clipping_bounds_the_norm_of_the_whole_gradient(tmp_path, bound, norm):
    free, clipped = Linear(), Linear()
    for task, value in ((free, 0.0), (clipped, bound)):
        task.bad = {0: 1000.0}
        make_trainer(tmp_path / str(value), task, steps=1, momentum=0.0, lr=1.0, clip_grad=value).fit()
    start = Linear().network
    moved = [
        torch.cat([(a - b).flatten() for a, b in zip(task.network.parameters(), start.parameters())]).norm() * 10
        for task in (free, clipped)
    ]
    if norm is None:  # a small gradient is not clipped
        assert torch.equal(*moved)
    else:
        assert moved[1].item() == pytest.approx(norm, rel=1e-4) and moved[0] > 10 * moved[1]


@pytest.mark.parametrize("read_every", [1, 3, 100])
def test_how_often_values_are_read_changes_no_number(tmp_path, read_every):
    states, metrics = [], []
    for name, every in (("often", 1), ("seldom", read_every)):
        trainer = make_trainer(tmp_path / name, Linear())
        trainer.read_every = every
        states.append(read_checkpoint(trainer.fit()))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        metrics.append([line.partition('"first"')[2] for line in lines])
    assert states[0]["averages"] == states[1]["averages"]
    assert torch.equal(states[0]["state_dict"]["weight"], states[1]["state_dict"]["weight"])
    assert metrics[0] == metrics[1] and len(metrics[0]) == 2


def test_no_value_is_read_between_the_reading_points(tmp_path, monkeypatch):
    task = Linear()
    trainer = make_trainer(tmp_path, task, steps=3)
    trainer.read_every = 100
    unread = []
    original = Trainer.step

    def step(self, number):
        original(self, number)
        unread.append([value for value, _, _ in self.unread])

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(trainer.run.paths.__class__, "model_dir", tmp_path)
    trainer.fit()
    # values are read at step 0; a checkpoint is due after it by the clock, and every second step
    assert unread == [[], [1], [2]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("read_every", "seen"), [(1, 4), (100, 4)])
def test_a_loss_that_is_not_finite_is_named_and_never_saved(tmp_path, bad, read_every, seen):
    """With accumulation, the second batch of step 3 is bad."""
    task = Linear(bad={7: bad})
    trainer = make_trainer(tmp_path, task, accumulate=2, steps=6)
    trainer.read_every = read_every
    with pytest.raises(NonFiniteLossError, match=r"step 3: .*first=.*second=.*--lr") as caught:
        trainer.fit()
    assert caught.value.where == "step 3"
    written = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert written == ["toy_iter_2.pth", "toy_step_3.pth"]
    for name in written:
        assert all(
            value.isfinite().all() for value in read_checkpoint(tmp_path / "model" / name)["state_dict"].values()
        )


def test_a_step_between_readings_reads_nothing_from_the_device(tmp_path):
    """Meta tensors have no values: reading one is an error."""
    task = Linear()
    trainer = make_trainer(tmp_path, task, process=Process(0, 1, torch.device("meta")), accumulate=2, clip_grad=1.0)
    trainer.batches = iter([{"images": torch.ones(2, 1, 1, 3)}] * 4)
    trainer.step(1)
    trainer.step(2)
    assert [step for step, _, _ in trainer.unread] == [1, 2]


@pytest.mark.parametrize("read_every", [1, 100])
@pytest.mark.parametrize(("accumulate", "clip_grad"), [(1, 0.0), (2, 1.0)])
def test_a_step_that_overflows_in_half_precision_is_skipped_and_counted(tmp_path, read_every, accumulate, clip_grad):
    task = Linear(bad={3 * accumulate: 1e30})
    trainer = make_trainer(
        tmp_path, task, amp="fp16", accumulate=accumulate, batch_size=1, clip_grad=clip_grad, momentum=0.0
    )
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)  # by default its first steps overflow here
    trainer.read_every = read_every
    state = read_checkpoint(trainer.fit())
    assert state["skipped"] == 1 and state["step"] == 6 and state["scaler"]["scale"] == 8.0
    assert state["state_dict"]["weight"].isfinite().all()
    states = [read_checkpoint(tmp_path / "model" / f"toy_iter_{step}.pth")["state_dict"] for step in (2, 4)]
    assert not torch.equal(states[0]["weight"], states[1]["weight"])  # step 2 updated it, step 3 did not
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["skipped_steps"] for row in rows] == [1, 1]
    assert all(math.isfinite(row["first"]) for row in rows)


def test_a_loss_that_overflows_at_every_scale_stops_the_run(tmp_path):
    task = Linear(bad=dict.fromkeys(range(3, 100), float("nan")))
    with pytest.raises(NonFiniteLossError) as caught:
        make_trainer(tmp_path, task, amp="fp16", batch_size=1, steps=80).fit()
    assert caught.value.where == f"step {2 + MOST_SKIPPED}"
    for path in (tmp_path / "model").iterdir():
        assert read_checkpoint(path)["state_dict"]["weight"].isfinite().all()


def test_statistics_that_a_skipped_step_has_spoiled_are_never_saved(tmp_path):
    class WithNorm(Linear):
        def losses(self, network, batch, part):
            if self.calls == 3:
                network.norm.running_mean.fill_(float("inf"))
            return super().losses(network, batch, part)

    task = WithNorm(bad={3: 1e30})
    task.network.norm = nn.BatchNorm1d(2, affine=False)
    with pytest.raises(NonFiniteLossError, match="batch norms"):
        make_trainer(tmp_path, task, amp="fp16", batch_size=1).fit()
    written = [read_checkpoint(path) for path in (tmp_path / "model").iterdir()]
    assert written and all(state["state_dict"]["norm.running_mean"].isfinite().all() for state in written)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_runs_out_is_one_line_with_the_remedy(tmp_path, error):
    task = Linear()
    task.fails = error
    trainer = make_trainer(tmp_path, task)
    trainer.run = replace(trainer.run, memory_remedy="see --plan")
    with pytest.raises(UserError) as caught:
        trainer.fit()
    assert caught.value.remedy == "see --plan" and "out of memory" in caught.value.what
    assert ("2.50 GiB" in caught.value.what) is ("2.50" in str(error))


def test_the_errors_of_a_lost_process_and_of_an_operation_that_is_not_repeatable_are_one_line(tmp_path):
    for text, what in (
        ("[gloo/transport/tcp/pair.cc:546] Connection closed by peer [127.0.0.1]:1", "another process"),
        ("CppCompileError: C++ compile error", "compiler"),
        ("put_ does not have a deterministic implementation, but you set", "deterministic"),
    ):
        task = Linear()
        task.fails = RuntimeError(text)
        with pytest.raises(UserError, match=what):
            make_trainer(tmp_path, task).fit()


def test_other_errors_of_the_device_stay_what_they_are(tmp_path):
    task = Linear()
    task.fails = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        make_trainer(tmp_path, task).fit()


def test_parameters_are_not_moved_by_a_bad_loss_where_every_step_is_read(tmp_path):
    task = Linear(bad={0: float("nan")})
    with pytest.raises(NonFiniteLossError):
        make_trainer(tmp_path, task).fit()
    assert torch.equal(task.network.weight, Linear().network.weight)


def test_a_value_that_is_only_recorded_may_be_not_finite(tmp_path):
    class Odd(Linear):
        def losses(self, network, batch, part):
            return Losses(super().losses(network, batch, part).losses, {"value": torch.tensor(float("nan"))})

    assert make_trainer(tmp_path, Odd()).fit().is_file()


def test_resuming_from_any_checkpoint_gives_the_same_end(tmp_path):
    whole = read_checkpoint(make_trainer(tmp_path / "whole", Linear(), momentum=0.9).fit())
    for step in (2, 4):
        latest = tmp_path / "whole" / "model" / f"toy_iter_{step}.pth"
        resumed = make_trainer(tmp_path / str(step), Linear(), momentum=0.9, latest=latest)
        state = read_checkpoint(resumed.fit())
        assert torch.equal(state["state_dict"]["weight"], whole["state_dict"]["weight"])
        assert state["averages"] == whole["averages"] and state["step"] == whole["step"] == 6
