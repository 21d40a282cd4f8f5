"""Complete trainings: gradients, records, interruption and resuming, refusals."""

import json
import os
from importlib.metadata import version

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from models.cam_net import build_cam_net
from scripts import train
from scripts.classifier_task import ClassifierTask
from tests.interrupting import Killed, ask_to_stop, assert_same_values, at_step, be_killed
from tests.small_bank import block, make_small_bank
from tests.small_training import make_training_data, small_options
from utils import l2g_samples as l2g_data
from utils.config.options import TrainOptions
from utils.config.parser import load_options, parse_options
from utils.data.image_list import read_image_list
from utils.data.images import write_image
from utils.errors import UserError
from utils.runs.paths import RunPaths
from utils.runtime.process import Process
from utils.training.checkpoint import read_checkpoint, write_checkpoint
from utils.training.optimiser import make_optimizer
from utils.training.task import WHOLE, Losses
from utils.training.trainer import NonFiniteLossError, Trainer

# softmax over positions leaves a constant added to every position without effect: no gradient, in exact arithmetic
WITHOUT_GRADIENT = ("pam_layer.key_conv.bias",)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_training_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def options(data, tmp_path):
    def make(**more):
        return small_options(data, **{"runs_dir": str(tmp_path / "runs"), **more})

    return make


@pytest.fixture
def fast_steps(monkeypatch):
    """Replaces the network's steps with given numbers."""

    def give(active_tags=1.0, transfer=lambda: 0.5):
        def losses(task, network, batch, part):
            fixed = {"transfer": network.global_net.fc8.weight.sum() * 0 + transfer()}
            return Losses(fixed, {"active_tags": torch.tensor(active_tags)})

        monkeypatch.setattr(ClassifierTask, "losses", losses)
        monkeypatch.setattr(ClassifierTask, "parts", (WHOLE,))

    return give


def paths_of(options):
    return RunPaths.of(options.runs_dir, options.experiment_name)


def metrics_of(options):
    return [json.loads(line) for line in paths_of(options).metrics.read_text().splitlines()]


def assert_same_run(one, other):
    """The same final checkpoint and the same lines of metrics."""
    states = [read_checkpoint(paths_of(o).model_dir / f"toy_epoch_{o.epochs - 1}.pth") for o in (one, other)]
    for state in states:
        state.pop("options")
    assert_same_values(*states)
    lines = [
        [{k: v for k, v in line.items() if k != "steps_per_second"} for line in metrics_of(o)] for o in (one, other)
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("attention", "suppression"), [("se", "learnable"), ("cam+pam", "none"), ("sa+eca", "fixed:0.55")]
)
def test_every_trainable_parameter_is_in_one_group_and_gets_a_gradient(options, attention, suppression):
    chosen = options(attention=attention, suppression=suppression, kd_loss="cross_entropy", lr=1e-4)
    torch.manual_seed(0)
    model = train.build_model(chosen, 2, fresh=True).train()
    task = ClassifierTask(model, [], lr=chosen.lr, new_lr_factor=chosen.new_lr_factor)
    settings = train.make_settings(chosen, num_images=8, world_size=1)
    optimizer = make_optimizer(model, task.parameter_groups(), settings.optimiser)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in trainable.values())
    batch = {
        # small, because the maps of an untrained network grow with every block and would saturate the softmaxes
        "images": 0.01 * torch.randn(2, 3, 32, 32),
        "tags": torch.eye(2),
        "boxes": torch.tensor([[0, 0, 24, 24], [8, 8, 32, 32]]).expand(2, 2, 4),
        "saliency": torch.rand(2, 1, 32, 32),
    }
    for _ in range(2):  # DANet's gates start at zero, so the layers behind them get gradients from the second step on
        optimizer.zero_grad()
        sum(model(**batch).losses.values()).backward()
        optimizer.step()
    without = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    assert [name for name in without if not name.endswith(WITHOUT_GRADIENT)] == []
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert all(".conv1a" in n or ".b2" in n or ".bn" in n for n in frozen), frozen


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4, 6])
def test_a_stopped_and_resumed_run_is_the_uninterrupted_run(options, monkeypatch, step):
    """Four steps per epoch: within an epoch, at its end, and after the decay of the learning rate. With dropout."""
    common = {"epochs": 2, "decay_epochs": (1,), "flip": 0.5}
    whole = options(experiment_name="whole", **common)
    train.run(whole)
    with monkeypatch.context() as patch:
        at_step(patch, step, ask_to_stop)
        with pytest.raises(SystemExit) as left:
            train.run(options(**common))
    assert left.value.code == 130
    expected = {3: "toy_step_3.pth", 4: "toy_epoch_0.pth", 6: "toy_step_6.pth"}[step]
    stopped = options(resume=True, **common)
    assert expected in os.listdir(paths_of(stopped).model_dir)
    torch.manual_seed(99)  # a new process has another state
    train.run(stopped)
    assert_same_run(whole, stopped)
    assert sorted(os.listdir(paths_of(stopped).model_dir)) == ["toy_epoch_0.pth", "toy_epoch_1.pth"]


def test_a_run_asked_to_stop_in_its_last_step_is_complete(options, monkeypatch):
    at_step(monkeypatch, 4, ask_to_stop)
    assert train.run(options()).is_file()
    assert len(metrics_of(options())) == 1


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_newest_checkpoint(options, monkeypatch):
    common = {"epochs": 2, "save_minutes": 0.0, "accumulate": 2, "batch_size": 1}
    whole, killed = options(experiment_name="whole", **common), options(resume=True, **common)
    train.run(whole)
    for step in (3, 4):  # steps 0, 1, 2 and 2, 3, 4, 5 of the run: step 2 was lost
        with monkeypatch.context() as patch:
            at_step(patch, step, be_killed)
            with pytest.raises(Killed):
                train.run(killed)
    assert "toy_step_5.pth" in os.listdir(paths_of(killed).model_dir)
    train.run(killed)
    assert_same_run(whole, killed)


def test_resuming_a_finished_run_changes_nothing(options):
    path = train.run(options())
    before = path.read_bytes()
    assert train.run(options(resume=True)) == path
    assert path.read_bytes() == before
    assert len(metrics_of(options())) == 1


@pytest.mark.slow
def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_checkpoint(options):
    path = train.run(options())
    before = path.read_bytes()
    with pytest.raises(NonFiniteLossError, match=r"step 5: .*local_cls=.*transfer="):
        train.run(options(epochs=2, resume=True, lr=1e30))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    # the remedy that the message names takes effect on resuming
    resumed = options(epochs=2, resume=True, lr=1e-5)
    state = read_checkpoint(train.run(resumed))
    assert min(group["base_lr"] for group in state["optimizer"]["param_groups"]) == 1e-5


def test_an_existing_run_is_not_overwritten(options):
    path = train.run(options())
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"toy_epoch_0\.pth.*--resume.*--experiment_name"):
        train.run(options(lr=0.5))
    assert path.read_bytes() == before
    assert load_options(TrainOptions, paths_of(options()).config) == options()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "--batch_size: was 2, is 4"),
        ({"batch_size": 1, "accumulate": 2}, "--batch_size: was 2, is 1; --accumulate: was 1, is 2"),
        ({"seed": 1}, "--seed: was 0, is 1"),
        ({"optimizer": "adamw"}, "--optimizer: was sgd, is adamw"),
        ({"attention": "se"}, "attention"),
        ({"epochs": 1}, "step 6, .* 4: .*--epochs"),
    ],
)
def test_another_run_is_not_resumed_and_keeps_its_options(options, fast_steps, monkeypatch, change, message):
    fast_steps()
    begun = options(epochs=2, save_minutes=0.0)
    train.run(begun)
    path = paths_of(begun).model_dir / "toy_step_6.pth"
    write_checkpoint(path, {**read_checkpoint(path.with_name("toy_epoch_1.pth")), "step": 6})
    with pytest.raises(UserError, match=message):
        train.run(options(**{"epochs": 2, "resume": True, **change}))
    assert load_options(TrainOptions, paths_of(begun).config) == begun


def test_changed_tags_are_not_resumed_and_replaced_images_are_said(tmp_path, fast_steps, capsys):
    data = make_training_data(tmp_path)

    def options(**more):
        return small_options(data, runs_dir=str(tmp_path / "runs"), **more)

    fast_steps()
    train.run(options(epochs=1))
    listing, image = data / "train_cls.txt", data / "JPEGImages" / "p0.png"
    listed = listing.read_text()
    listing.write_text(listed.replace("p0 0", "p0 1"))
    assert listing.read_text() != listed
    more = options(epochs=2, resume=True)
    with pytest.raises(UserError, match="digest of the list"):
        train.run(more)
    listing.write_text(listed)
    capsys.readouterr()
    write_image(image, np.full((36, 44, 3), 90, np.uint8))
    train.run(more)
    assert "images were replaced" in "".join(capsys.readouterr())
    train.run(options(epochs=3, resume=True))
    assert "images were replaced" not in "".join(capsys.readouterr())


def test_a_checkpoint_of_an_older_version_has_no_digests_and_is_resumed(options, fast_steps, capsys):
    fast_steps()
    train.run(options(epochs=1))
    path = paths_of(options()).model_dir / "toy_epoch_0.pth"
    content = read_checkpoint(path)
    del content["facts"]["digest of the list and its tags"], content["images"]
    write_checkpoint(path, content)
    assert train.run(options(epochs=2, resume=True)).name == "toy_epoch_1.pth"
    assert "images were replaced" not in "".join(capsys.readouterr())


def test_weights_without_a_run_are_not_resumed(options):
    path = paths_of(options()).model_dir / "toy_epoch_9.pth"
    write_checkpoint(path, {"state_dict": build_cam_net("resnet38", 2, width=0.0625).state_dict()})
    with pytest.raises(UserError, match=r"--load_checkpoint="):
        train.run(options(resume=True, epochs=20))


@pytest.mark.parametrize("weights", [{"init_weights": "absent.params"}, {"load_checkpoint": "absent.pth"}])
def test_everything_missing_is_told_in_one_message(data, options, tmp_path, weights):
    listing = tmp_path / "list.txt"
    listing.write_text((data / "train_cls.txt").read_text() + "ghost 0\n")
    absent = tmp_path / "Sal"
    absent.mkdir()
    chosen = options(train_list=str(listing), sal_dir=str(absent), **weights)
    with pytest.raises(UserError) as caught:
        train.run(chosen)
    message = str(caught.value)
    assert "1 of 9 are missing" in message and "(ghost)" in message
    assert "9 of 9 are missing" in message and "--sal_dir=none" in message
    ((option, file),) = weights.items()
    assert f"--{option}" in message and file in message
    assert not paths_of(chosen).root.exists()


def test_both_networks_start_from_one_checkpoint(options, tmp_path):
    torch.manual_seed(3)
    state = build_cam_net("resnet38", 2, width=0.0625).state_dict()
    write_checkpoint(tmp_path / "start.pth", {"state_dict": state})
    path = train.run(options(load_checkpoint=str(tmp_path / "start.pth"), lr=1e-20, freeze_batch_norm=True))
    trained = read_checkpoint(path)
    for name in ("state_dict", "local_dict"):
        assert all(torch.allclose(trained[name][key], value, rtol=1e-5) for key, value in state.items())


def test_initial_weights_reach_both_networks(options, tmp_path):
    torch.manual_seed(3)
    state = build_cam_net("resnet38", 5, width=0.0625).state_dict()
    torch.save(state, tmp_path / "init.pth")
    model = train.build_model(options(init_weights=str(tmp_path / "init.pth")), 2, fresh=True)
    for net in (model.global_net, model.local_net):
        assert torch.equal(net.b7.conv_branch1.weight, state["b7.conv_branch1.weight"])
    torch.save({"layer1.weight": torch.zeros(2)}, tmp_path / "init.pth")
    with pytest.raises(UserError) as error:
        train.build_model(options(init_weights=str(tmp_path / "init.pth")), 2, fresh=True)
    assert error.value.where == str(tmp_path / "init.pth")


def test_random_weights_may_not_be_frozen(options):
    with pytest.raises(UserError) as error:
        train.run(options(frozen_stages=2, freeze_batch_norm=True))
    assert "--init_weights" in error.value.remedy


@pytest.mark.parametrize(("option", "value"), [("backbone", "timm:no_such_model"), ("frozen_stages", 9)])
def test_an_impossible_network_is_a_users_error_that_names_the_option(options, option, value):
    with pytest.raises(UserError) as error:
        train.build_model(options(width=1.0, **{option: value}), 2, fresh=True)
    assert (error.value.where, error.value.what) == (f"--{option}", str(value))


@pytest.mark.parametrize(("share", "warned"), [(0.01, True), (0.5, False)])
def test_collapse_is_warned_of(options, fast_steps, share, warned):
    fast_steps(active_tags=share)
    train.run(options())
    text = paths_of(options()).log.read_text()
    assert ("only 1.0% of the images' tags" in text) is warned
    assert ("--kd_loss=balanced" in text) is warned


@pytest.mark.slow
def test_a_run_leaves_exactly_these_files(options, fast_steps):
    fast_steps()
    chosen = options(epochs=4, keep_checkpoints=2, save_minutes=0.0)
    assert train.run(chosen) == paths_of(chosen).model_dir / "toy_epoch_3.pth"
    root = paths_of(chosen).root
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    curves = [name for name in files if name.startswith("tensorboard/")]
    assert len(curves) == 1
    assert [name for name in files if name not in curves] == [
        "config.yaml",
        "log.txt",
        "metrics.jsonl",
        "model/toy_epoch_2.pth",
        "model/toy_epoch_3.pth",
        "versions.json",
    ]
    assert load_options(TrainOptions, root / "config.yaml") == chosen
    lines = metrics_of(chosen)
    assert [(line["epoch"], line["step"], line["transfer"]) for line in lines] == [
        (e, 4 * e + 4, 0.5) for e in range(4)
    ]
    assert (root / "log.txt").read_text().count(" plan: ") == 2
    versions = json.loads((root / "versions.json").read_text())
    assert versions["torch"] == version("torch")
    assert versions["choices"] == {
        "tf32": False, "cudnn_autotune": False, "deterministic": True, "device": "cpu", "processes": 1, "amp": "off",
        "channels_last": False, "compile": False, "checkpoint_activations": False, "fused_optimizer": True,
        "pinned_memory": False, "gradients_as_bucket_view": False,
    }  # fmt: skip


def test_every_epoch_has_its_own_averages(options, fast_steps):
    values = iter(range(-1, 8))  # the first is taken by the plan
    fast_steps(transfer=lambda: float(next(values)))
    train.run(options(epochs=2))
    assert [line["transfer"] for line in metrics_of(options())] == [1.5, 5.5]


@pytest.mark.slow
def test_half_precision_and_checkpointed_activations_train_on_the_cpu(options):
    plain = train.run(options(experiment_name="plain", freeze_batch_norm=False))
    again = train.run(options(experiment_name="again", freeze_batch_norm=False, checkpoint_activations=True))
    states = [read_checkpoint(path) for path in (plain, again)]
    assert_same_values(*[{name: state[name] for name in ("state_dict", "local_dict")} for state in states])
    state = read_checkpoint(train.run(options(experiment_name="half", amp="fp16", epochs=6)))
    assert all(value.isfinite().all() for value in state["state_dict"].values())
    assert 0 < state["skipped"] < 20  # of 24 steps: the loss scale starts high


@pytest.mark.slow
def test_bf16_trains_on_the_cpu(options):
    state = read_checkpoint(train.run(options(amp="bf16")))
    assert all(value.isfinite().all() for value in state["state_dict"].values())
    assert state["state_dict"]["fc8.weight"].dtype == torch.float32


def test_training_without_saliency_reads_none(data, options, monkeypatch):
    monkeypatch.setattr(l2g_data, "read_gray", lambda path: pytest.fail(f"read {path}"))
    train.run(options(sal_dir="none", kd_loss="balanced", background_target="complement"))
    assert {"transfer", "local_cls"} <= metrics_of(options())[0].keys()


def test_a_data_set_without_saliency_trains_when_told_so(tmp_path):
    data = make_training_data(tmp_path, count=2, saliency=False)
    with pytest.raises(UserError, match="--sal_dir=none"):
        train.run(small_options(data))
    assert train.run(small_options(data, sal_dir="none")).is_file()


def test_the_classifier_alone_trains_without_a_local_network(options):
    state = read_checkpoint(train.run(options(kd_weight=0.0, global_cls_weight=1.0)))
    assert "local_dict" not in state
    line = metrics_of(options())[0]
    assert line.keys() == {"epoch", "step", "steps_per_second", "global_cls", "active_tags"}


def test_published_flags_are_understood():
    argv = [
        "--img_dir=/images", "--epoch=15", "--kd_weights=30", "--bg_thr=0.1", "--patch_size=4", "--iter_size=2",
        "--decay_points=5,10", "--batch_size=12", "--lr=0.1", "--num_workers=4", "--disp_interval=100",
    ]  # fmt: skip
    parsed = parse_options(TrainOptions, argv)
    assert parsed == TrainOptions(
        image_dir="/images", epochs=15, kd_weight=30.0, bg_threshold=0.1, num_patches=4, accumulate=2,
        decay_epochs=(5, 10), batch_size=12, lr=0.1, num_workers=4, log_every=100,
    )  # fmt: skip


def test_layers_that_stay_plain_beside_channels_last_are_said(options, fast_steps):
    fast_steps()
    given = options(channels_last=True)
    train.run(given)
    log = paths_of(given).log.read_text()
    assert "channels-last memory layout: " in log and " narrow layers stay plain (global_net.conv1a, " in log


def test_images_are_found_in_the_folder_above_them(data, options):
    dataset = train.open_dataset(str(data))
    for folder in (data, data / "JPEGImages"):
        entries, image_dir, sal_dir, _ = train.check_input(options(image_dir=str(folder)), dataset)
        assert image_dir == data / "JPEGImages"
    assert sal_dir == data / "Sal"
    assert entries == read_image_list(data / "train_cls.txt", 2)


def test_saliency_of_another_size_and_broken_images_are_named_before_training(tmp_path):
    data = make_training_data(tmp_path, count=3)
    write_image(data / "Sal" / "p1.png", np.zeros((9, 9), np.uint8))
    (data / "JPEGImages" / "p2.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"p1\.png") as error:
        train.run(small_options(data))
    assert "Sal/p1.png (9x9, image 44x36)" in str(error.value)
    assert "1 images unreadable" in str(error.value) and "JPEGImages/p2.png" in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_an_image_that_is_cut_short_is_named_before_training_however_many_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.data.images.FEW_FILES", 0)
    data = make_training_data(tmp_path, count=3)
    path = data / "JPEGImages" / "p2.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="1 images unreadable") as error:
        train.run(small_options(data))
    assert "JPEGImages/p2.png" in str(error.value)


def rate_factors(chosen):
    """Return the learning rate factor of each epoch."""
    schedule = train.make_settings(chosen, num_images=8, world_size=1).schedule
    epoch = schedule.steps // chosen.epochs
    return [schedule.factor(epoch * number) for number in range(chosen.epochs)]


def test_decay_points_before_the_start_of_a_new_run_do_not_count(options):
    """The published second stage, epochs 10 to 12 from the checkpoint of epoch 9, ran at a constant learning rate."""
    whole = options(epochs=13, decay_epochs=(5, 11))
    assert rate_factors(whole) == pytest.approx([1] * 5 + [0.1] * 6 + [0.01] * 2)
    second = options(epochs=13, decay_epochs=(5, 11), load_checkpoint="first.pth", start_epoch=10)
    assert rate_factors(second)[10:] == pytest.approx([1, 0.1, 0.1])
    assert rate_factors(options(epochs=13, decay_epochs=(10,), load_checkpoint="first.pth", start_epoch=10))[
        10
    ] == pytest.approx(0.1)
    assert rate_factors(options(epochs=6, load_checkpoint="first.pth"))[5] == pytest.approx(0.1)


def test_published_gates_learn_at_the_published_rates_or_not_at_all(options):
    held = {}
    for gates in ("all", "published"):
        chosen = options(
            attention="se+sa", suppression="learnable", train_gates=gates, lr=0.001, freeze_batch_norm=True
        )
        model = train.build_model(chosen, 2, fresh=True)
        task = ClassifierTask(model, [], lr=chosen.lr, new_lr_factor=chosen.new_lr_factor)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        held[gates] = {names[id(p)]: group["base_lr"] for group in task.parameter_groups() for p in group["params"]}
    linear = {name for name in held["all"] if "se_layer" in name or "DRS_" in name}
    convolutions = {name for name in held["all"] if "sa_layer" in name}
    assert linear and convolutions
    assert held["all"].keys() - held["published"].keys() == linear
    assert {held["all"][name] for name in linear | convolutions} <= {0.01, 0.02}
    for name, rate in held["published"].items():
        new = name.split(".")[1] in ("fc8", "f8_3", "f8_4", "f9")
        assert rate == pytest.approx(0.001 * (10 if new else 1) * (2 if name.endswith(".bias") else 1))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    foregrounds = [block(10, 12, tag=0), block(12, 9, color=(0, 250, 0), tag=1)]
    return str(make_small_bank(tmp_path_factory.mktemp("bank"), foregrounds, ("cat", "dog")))


@pytest.mark.slow
def test_the_second_stage_goes_on_with_networks_optimiser_and_epochs(options, bank):
    """In the same run with --resume, or in a new one with --load_checkpoint and --start_epoch: the same weights."""
    second = {"epochs": 2, "lr": 5e-5, "cda": "cda+", "cda_bank": bank}
    first = train.run(options())
    started = options(experiment_name="new", load_checkpoint=str(first), start_epoch=1, **second)
    train.run(started)
    continued = options(resume=True, **second)
    train.run(continued)
    states = [read_checkpoint(paths_of(o).model_dir / "toy_epoch_1.pth") for o in (started, continued)]
    for state in states:
        assert (state["epoch"], state["step"]) == (1, 8)
        assert min(group["base_lr"] for group in state["optimizer"]["param_groups"]) == 5e-5
    assert_same_values(states[0]["state_dict"], states[1]["state_dict"])
    assert_same_values(states[0]["optimizer"]["state"], states[1]["optimizer"]["state"])
    assert [line["epoch"] for line in metrics_of(started)] == [1]
    assert [line["epoch"] for line in metrics_of(continued)] == [0, 1]
    anew = options(experiment_name="anew", load_checkpoint=str(first), epochs=1, cda="cda+", cda_bank=bank, lr=5e-5)
    other = read_checkpoint(train.run(anew))["optimizer"]["state"]
    assert any(
        not torch.equal(other[k]["momentum_buffer"], v["momentum_buffer"])
        for k, v in states[0]["optimizer"]["state"].items()
    )


@pytest.mark.slow
def test_the_rate_of_the_second_stage_is_what_its_options_say(options, bank, monkeypatch):
    first = train.run(options())
    seen = []
    original = Trainer.step

    def step(self, number):
        original(self, number)
        seen.append(min(group["lr"] for group in self.optimizer.param_groups))

    monkeypatch.setattr(Trainer, "step", step)
    train.run(options(resume=True, epochs=2, lr=3e-5, decay_epochs=(), cda="cda", cda_bank=bank, save_minutes=0.0))
    assert seen == pytest.approx([3e-5] * 4)
    assert first.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4])
def test_a_second_stage_stopped_in_the_middle_gives_the_same_weights(options, bank, monkeypatch, step):
    first = str(train.run(options(experiment_name="first")))
    common = {"epochs": 3, "load_checkpoint": first, "start_epoch": 1, "cda": "cda+", "cda_bank": bank, "flip": 0.5}
    whole = options(experiment_name="whole", **common)
    train.run(whole)
    with monkeypatch.context() as patch:
        at_step(patch, step, ask_to_stop)
        with pytest.raises(SystemExit):
            train.run(options(**common))
    resumed = options(resume=True, **common)
    train.run(resumed)
    assert_same_run(whole, resumed)


def test_a_start_epoch_needs_the_checkpoint_of_the_epoch_before(options, tmp_path):
    path = train.run(options())
    with pytest.raises(UserError, match=r" 0: --start_epoch=3 .* 2"):
        train.run(options(experiment_name="b", load_checkpoint=str(path), start_epoch=3, epochs=5))
    write_checkpoint(tmp_path / "bare.pth", {"state_dict": read_checkpoint(path)["state_dict"]})
    with pytest.raises(UserError, match="without --start_epoch"):
        train.run(options(experiment_name="b", load_checkpoint=str(tmp_path / "bare.pth"), start_epoch=1, epochs=5))
    with pytest.raises(UserError, match="give --load_checkpoint"):
        options(start_epoch=1, epochs=5)
    assert not (path.parents[2] / "b" / "config.yaml").exists()


def test_a_missing_bank_is_told_with_the_rest(options, tmp_path):
    with pytest.raises(UserError, match=r"build_foregrounds(.|\n)*absent\.params"):
        train.run(options(cda="cda", cda_bank=str(tmp_path / "no"), init_weights="absent.params"))
    with pytest.raises(UserError, match="sem_seg_fg/exp"):
        train.run(options(cda="cda"))


def test_an_empty_bank_is_an_error_and_missing_classes_are_told_once(options, tmp_path):
    empty = make_small_bank(tmp_path / "empty", [], ("cat", "dog"))
    with pytest.raises(UserError, match=r"index\.csv"):
        train.run(options(cda="cda", cda_bank=str(empty)))
    half = make_small_bank(tmp_path / "half", [block(tag=0)], ("cat", "dog"))
    train.run(options(cda="cda", cda_bank=str(half)))
    assert paths_of(options()).log.read_text().count("no dog: these are never pasted") == 1


def test_pasting_by_saliency_needs_saliency(options):
    with pytest.raises(UserError, match="--cda=cda"):
        options(cda="cda+", sal_dir="none")


def published_checkpoint_of(path, target):
    """A checkpoint of the published programs: other optimiser groups, no state of a run."""
    state = read_checkpoint(path)
    content = {f"module.{name}": tensor for name, tensor in state["state_dict"].items()}
    local = {f"module.{name}": tensor for name, tensor in state["local_dict"].items()}
    groups = [{"lr": 0.001, "params": [number]} for number in range(8)]
    optimizer = {"state": {}, "param_groups": groups}
    write_checkpoint(
        target, {"state_dict": content, "local_dict": local, "epoch": 0, "global_counter": 3, "optimizer": optimizer}
    )
    return target


@pytest.mark.slow
@pytest.mark.parametrize("way", ["load_checkpoint", "resume"])
def test_published_weights_start_the_second_stage(options, tmp_path, way, caplog, capsys):
    first = train.run(options(experiment_name="first"))
    if way == "resume":  # put where the run's own checkpoint would be
        target = first.parents[2] / "second" / "model" / first.name
        published_checkpoint_of(first, target)
        second = options(experiment_name="second", epochs=2, resume=True, lr=1e-20)
    else:
        target = published_checkpoint_of(first, tmp_path / "pascal_voc_epoch_0.pth")
        second = options(experiment_name="second", epochs=2, load_checkpoint=str(target), start_epoch=1, lr=1e-20)
    path = train.run(second)
    assert path.name.endswith("_epoch_1.pth")
    state = read_checkpoint(path)
    before = read_checkpoint(first)
    assert state["step"] == 2 * before["step"]
    assert torch.equal(state["state_dict"]["fc8.weight"], before["state_dict"]["fc8.weight"])
    log = (path.parents[1] / "log.txt").read_text()
    assert sum(str(target) in line for line in log.splitlines()) == 1


@pytest.mark.slow
def test_a_checkpoint_to_start_from_needs_no_initial_weights(options, tmp_path):
    first = train.run(options(experiment_name="first"))
    again = options(experiment_name="again", load_checkpoint=str(first), init_weights="absent.params")
    assert train.run(again).is_file()


def test_published_weights_that_are_longer_than_the_run_are_refused(options):
    first = train.run(options(experiment_name="first"))
    published_checkpoint_of(first, first.parents[2] / "second" / "model" / "toy_epoch_9.pth")
    with pytest.raises(UserError) as raised:
        train.run(options(experiment_name="second", epochs=2, resume=True))
    assert "--epochs" in raised.value.remedy


@pytest.mark.slow
def test_a_step_between_readings_reads_nothing_from_the_device(data, options):
    """Meta tensors have no values: reading one is an error."""
    chosen = options()
    dataset = train.open_dataset(str(data))
    inputs = train.check_input(chosen, dataset)
    model = train.build_model(chosen, 2, fresh=True)
    samples = train.make_samples(chosen, dataset, inputs, model)
    task = ClassifierTask(model, samples, lr=chosen.lr, new_lr_factor=chosen.new_lr_factor)
    settings = train.make_settings(chosen, num_images=8, world_size=1)
    trainer = Trainer(task, settings, None, Process(0, 1, torch.device("meta")))
    keys = [(0, 0, False), (0, 1, False)]
    trainer.batches = iter([default_collate([samples[key] for key in keys])])
    trainer.step(1)
    assert [step for step, _, _ in trainer.unread] == [1]
