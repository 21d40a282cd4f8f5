"""Training steps on a CUDA device: compared with the CPU, in each precision, without waiting, within the plan."""

import copy
import logging
import os

import pytest
import torch
import torch.distributed as dist

from deeplabv2 import train as segmentation
from deeplabv2.settings import Settings
from scripts import train
from tests.fake_cuda import CUDA
from tests.gpu.needed import needs_gpu
from tests.interrupting import ask_to_stop, assert_same_values, at_step
from tests.planned import classifier_task, filled, losses_of, segmentation_task
from tests.small_training import make_training_data, small_options
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.runs.paths import RunPaths
from utils.runtime.choices import Choices, choose
from utils.runtime.device import autocast
from utils.runtime.process import Process
from utils.training.checkpoint import read_checkpoint
from utils.training.plan import GIB, Length, Plan
from utils.training.recompute import recompute_blocks
from utils.training.settings import Run
from utils.training.trainer import Trainer

pytestmark = needs_gpu

NARROW = {
    "resize": 128, "input_size": 128, "crop_size": 96, "num_patches": 4, "frozen_stages": 0, "width": 0.25,
    "attention": "se", "suppression": "learnable", "dropout": (0.0, 0.0),
}  # fmt: skip
KINDS = ("classifier", "segmentation")
DEVICE = CUDA
ALONE = Process(0, 1, DEVICE)


@pytest.fixture(autouse=True)
def default_choices():
    yield
    choose(DEVICE, Choices())


def task_of(kind, **more):
    """A narrow network with values; `more` are options of the classifier."""
    if kind == "classifier":
        return classifier_task(TrainOptions(**NARROW, **more), classes=3, values=True)
    flags = ["--MODEL.WIDTH=0.25", "--MODEL.N_BLOCKS=[1,1,2,1]", "--IMAGE.SIZE.TRAIN=129"]
    return segmentation_task(parse_options(Settings, flags), labels=3, values=True)


def step(task, network, device, amp="off"):
    """Losses and gradients, on the CPU."""
    network = network.train().to(device)
    batch = {name: value.to(device) for name, value in filled(task.example(2)).items()}
    with autocast(device, amp):
        losses = losses_of(task, network, batch)
    losses.total().backward()
    gradients = {name: p.grad.float().cpu() for name, p in network.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in losses.losses.items()}, gradients


def assert_close(found, expected, *, tolerance):
    """Losses, and each gradient against its own magnitude."""
    for name, value in expected[0].items():
        assert found[0][name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
    for name, value in expected[1].items():
        assert (found[1][name] - value).norm() <= 30 * tolerance * value.norm() + 1e-6, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_in_full_float32_is_that_of_the_cpu(kind):
    choose(DEVICE, Choices(tf32=False))
    task = task_of(kind)
    expected = step(task, copy.deepcopy(task.network), torch.device("cpu"))
    assert_close(step(task, task.network, DEVICE), expected, tolerance=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("amp", "tolerance"), [("off", 1e-2), ("bf16", 1e-1), ("fp16", 5e-2)])
def test_every_precision_gives_about_the_same_losses(kind, amp, tolerance):
    """`off` is TF32 here."""
    task = task_of(kind)
    choose(DEVICE, Choices(tf32=False))
    expected, _ = step(task, copy.deepcopy(task.network), DEVICE)
    choose(DEVICE, Choices(tf32=True))
    found, _ = step(task, task.network, DEVICE, amp)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["channels-last", "checkpointing", "compile"])
def test_other_forms_of_a_network_give_the_same_step(kind, form):
    choose(DEVICE, Choices(tf32=False))
    task = task_of(kind)
    expected = step(task, copy.deepcopy(task.network), DEVICE)
    network = task.network.to(DEVICE)
    if form == "channels-last":
        network.to(memory_format=torch.channels_last)
    elif form == "checkpointing":
        recompute_blocks(network)
    else:
        network.compile()
    assert_close(step(task, network, DEVICE), expected, tolerance=1e-3)


def trainer_of(kind, tmp_path, *, process=ALONE, **more):
    """A trainer of a few hundred steps whose batches are in pinned memory."""
    task = task_of(kind, **more)
    if kind == "classifier":
        options = TrainOptions(**NARROW, **more, batch_size=2, log_every=100)
        settings = train.make_settings(options, num_images=1000, world_size=1)
    else:
        settings = segmentation.make_settings(parse_options(Settings, [f"--SOLVER.AMP={more.get('amp', 'off')}"]))
    log = logging.getLogger("l2g")
    run = Run(RunPaths(tmp_path), "toy", None, {}, log, length="--n", initial="--w", remedy="lower --lr")
    trainer = Trainer(task, settings, run, process)
    trainer.read_every = settings.saving.log_every
    batch = filled(task.example(2))
    pinned = {name: value.pin_memory() for name, value in batch.items()} if torch.cuda.is_available() else batch
    trainer.batches = iter(lambda: dict(pinned), None)
    task.network.train()
    return trainer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_twenty_steps_wait_for_nothing(kind, amp, tmp_path):
    more = {"clip_grad": 1.0} if kind == "classifier" else {}
    trainer = trainer_of(kind, tmp_path, amp=amp, **more)
    trainer.step(1)  # the libraries are initialised, and cuDNN chooses its algorithms
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(2, 22):
            trainer.step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(trainer.unread) == 21
    assert all(value.isfinite().all() for value in trainer.task.network.state_dict().values())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_memory_is_what_the_plan_says(amp, recompute, tmp_path):
    """At a size at which activations dominate. Memory of the libraries themselves is not in tensors."""
    options = TrainOptions(width=0.5, amp=amp, batch_size=2, checkpoint_activations=recompute)
    task = classifier_task(options, values=True)
    settings = train.make_settings(options, num_images=100, world_size=1)
    planned = Plan(task, settings, Length(100, 50, 50), DEVICE).memory
    trainer = Trainer(task, settings, None, ALONE)
    batch = filled(task.example(2))
    batch["boxes"] = torch.tensor([0, 0, 320, 320]).expand(batch["boxes"].shape).contiguous()
    trainer.batches = iter(lambda: dict(batch), None)
    task.network.train()
    trainer.step(1)
    torch.cuda.reset_peak_memory_stats()
    trainer.step(2)
    found = torch.cuda.max_memory_allocated()
    assert found == pytest.approx(planned.peak, rel=0.15), (found / GIB, planned.peak / GIB)


def test_a_repeatable_run_is_resumed_to_the_same_bytes(tmp_path, monkeypatch):
    data = make_training_data(tmp_path)
    common = {"device": "cuda", "deterministic": True, "epochs": 2}
    whole = train.run(small_options(data, experiment_name="whole", **common))
    with monkeypatch.context() as patch:
        at_step(patch, 3, ask_to_stop)
        with pytest.raises(SystemExit):
            train.run(small_options(data, experiment_name="stopped", **common))
    resumed = train.run(small_options(data, experiment_name="stopped", resume=True, **common))
    states = [read_checkpoint(path) for path in (whole, resumed)]
    for state in states:
        state.pop("options")
    assert_same_values(*states)


def test_one_process_trains_over_nccl(tmp_path, monkeypatch):
    """The gradient is reduced by NCCL, with only this process."""
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setitem(os.environ, name, value)
    dist.init_process_group("cpu:gloo,cuda:nccl", rank=0, world_size=1)
    try:
        plain = trainer_of("segmentation", tmp_path)
        spread = trainer_of("segmentation", tmp_path)
        spread.network = torch.nn.parallel.DistributedDataParallel(spread.task.network, gradient_as_bucket_view=True)
        for trainer in (plain, spread):
            trainer.step(1)
        for one, other in zip(plain.task.network.parameters(), spread.task.network.parameters(), strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
    finally:
        dist.destroy_process_group()
