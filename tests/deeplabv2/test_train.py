"""Training of the segmentation network: resuming, accumulation, records, refusals."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from deeplabv2 import inputs, train
from deeplabv2.inference import make_network
from deeplabv2.settings import Settings, SolverSettings
from tests.golden_recipe import GOLDEN
from tests.interrupting import Killed, ask_to_stop, assert_same_values, at_step, be_killed
from tests.small_segmentation import make_segmentation_data, small_settings
from utils.data.images import write_label_png
from utils.errors import UserError
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.process import Process
from utils.training.checkpoint import read_checkpoint
from utils.training.trainer import NonFiniteLossError, Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_segmentation_data(tmp_path_factory.mktemp("segmentation"))


@pytest.fixture
def make(data, tmp_path):
    def settings(**changes):
        return small_settings(data, Settings, **{"EXP__OUTPUT_DIR": str(tmp_path / "out"), **changes})

    return settings


def paths_of(settings):
    return SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training


def metrics_of(settings):
    return [json.loads(line) for line in paths_of(settings).metrics.read_text().splitlines()]


def assert_same_training(one, other):
    """The same final checkpoint, bit by bit, and the same lines of metrics."""
    states = [read_checkpoint(paths_of(settings).final) for settings in (one, other)]
    for state in states:
        state.pop("options")
    assert_same_values(*states)
    lines = [
        [{k: v for k, v in line.items() if k != "steps_per_second"} for line in metrics_of(s)] for s in (one, other)
    ]
    assert lines[0] == lines[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "left"), [(1, "checkpoint_step_1.pth"), (2, "checkpoint_step_2.pth"), (4, "checkpoint_iter_4.pth")]
)
def test_a_stopped_and_resumed_training_is_the_uninterrupted_one(make, monkeypatch, step, left):
    """Within an interval of records, at its end, and at a permanent checkpoint. The learning rate changes each step."""
    whole, stopped = make(EXP__ID="whole"), make(SOLVER__RESUME=True)
    train.run(whole)
    with monkeypatch.context() as patch:
        at_step(patch, step, ask_to_stop)
        with pytest.raises(SystemExit) as exit_:
            train.run(stopped)
    assert exit_.value.code == 130
    assert left in os.listdir(paths_of(stopped).root) and not paths_of(stopped).final.exists()
    torch.manual_seed(99)  # a new process has another state
    train.run(stopped)
    assert_same_training(whole, stopped)
    kept = {name for name in os.listdir(paths_of(stopped).root) if name.endswith(".pth")}
    assert kept == {"checkpoint_iter_4.pth", "checkpoint_final.pth"}


def test_a_killed_training_goes_on_from_its_newest_checkpoint(make, monkeypatch):
    common = {"SOLVER__SAVE_MINUTES": 0.0, "SOLVER__ITER_SIZE": 2, "SOLVER__BATCH_SIZE__TRAIN": 1}
    whole, killed = make(EXP__ID="whole", **common), make(SOLVER__RESUME=True, **common)
    train.run(whole)
    with monkeypatch.context() as patch:
        at_step(patch, 4, be_killed)  # in step 3, after the metrics of step 2 were written
        with pytest.raises(Killed):
            train.run(killed)
    assert "checkpoint_step_3.pth" in os.listdir(paths_of(killed).root)
    train.run(killed)
    assert_same_training(whole, killed)


def test_a_training_asked_to_stop_in_its_last_step_is_complete(make, monkeypatch):
    at_step(monkeypatch, 6, ask_to_stop)
    assert train.run(make()).name == "checkpoint_final.pth"


def test_a_finished_training_is_left_alone_and_a_longer_one_goes_on(make):
    final = train.run(make())
    before = final.read_bytes()
    assert train.run(make(SOLVER__RESUME=True)) == final and final.read_bytes() == before
    assert len(metrics_of(make())) == 3
    train.run(make(SOLVER__RESUME=True, SOLVER__ITER_MAX=8))
    assert read_checkpoint(final)["step"] == 8
    assert [line["step"] for line in metrics_of(make())] == [2, 4, 6, 8]
    with pytest.raises(UserError, match=r"step 8, .* 6: .*--SOLVER\.ITER_MAX"):
        train.run(make(SOLVER__RESUME=True))


def test_rate_follows_the_published_schedule():
    solver = SolverSettings(LR=2.5e-4, ITER_MAX=1000, LR_DECAY=10, POLY_POWER=0.9)
    golden = np.load(GOLDEN / "poly_lr.npy", allow_pickle=False)
    schedule = train.make_settings(Settings(SOLVER=solver)).schedule
    ours = [solver.LR * schedule.factor(step) for step in range(1, 1001)]
    assert np.allclose(ours, golden, rtol=1e-6, atol=1e-12)


def test_a_training_leaves_exactly_these_files(make):
    settings = make(SOLVER__KEEP_CHECKPOINTS=1)
    train.run(settings)
    found = set(os.listdir(paths_of(settings).root))
    assert found == {"config.yaml", "log.txt", "metrics.jsonl", "tensorboard", "versions.json", "checkpoint_final.pth"}
    log = paths_of(settings).log.read_text()
    assert "6 labels, fraction of pixels:" in log and "step 6: loss" in log and log.count("plan: ") == 2
    assert [line["step"] for line in metrics_of(settings)] == [2, 4, 6]


def test_a_non_finite_loss_stops_the_training_and_keeps_the_last_checkpoint(make):
    settings = make(SOLVER__LR=1e30, SOLVER__ITER_SAVE=1)
    with pytest.raises(NonFiniteLossError, match=r"step \d.*--SOLVER\.LR"):
        train.run(settings)
    assert any(name.startswith("checkpoint_iter_") for name in os.listdir(paths_of(settings).root))
    assert not paths_of(settings).final.exists()


def test_an_existing_training_is_not_overwritten(make):
    final = train.run(make())
    with pytest.raises(UserError, match=r"checkpoint_final\.pth.*--resume.*--EXP\.ID"):
        train.run(make())
    assert final.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SOLVER__BATCH_SIZE__TRAIN": 3}, r"--SOLVER\.BATCH_SIZE\.TRAIN: was 2, is 3"),
        ({"SOLVER__SEED": 1}, r"--SOLVER\.SEED: was 0, is 1"),
        ({"DATASET__SPLIT__TRAIN": "val"}, r"number of images: was 6, is 3"),
    ],
)
def test_another_training_is_not_gone_on_with(make, changes, message):
    train.run(make())
    before = paths_of(make()).config.read_text()
    with pytest.raises(UserError, match=message):
        train.run(make(SOLVER__RESUME=True, **changes))
    assert paths_of(make()).config.read_text() == before


def test_labels_that_have_changed_since_are_noticed(make, data, tmp_path):
    labels = shutil.copytree(data.parent / "labels", tmp_path / "labels")
    settings = make(DATASET__LABEL_DIR=str(labels), SOLVER__RESUME=True)
    train.run(settings)
    write_label_png(labels / "t0.png", np.zeros((40, 48), np.uint8))
    with pytest.raises(UserError, match="labels"):
        train.run(settings)


def test_all_that_is_missing_is_told_at_once(make, data, tmp_path):
    labels = shutil.copytree(data.parent / "labels", tmp_path / "labels")
    for name in ("t1", "t2"):
        (labels / f"{name}.png").unlink()
    with pytest.raises(UserError) as error:
        train.run(
            make(
                DATASET__LABEL_DIR=str(labels),
                DATASET__IMAGE_DIR=str(labels),
                MODEL__INIT_MODEL="data/models/none.pth",
            )
        )
    message = str(error.value)
    assert message.count("2 of 6") == 2 and f"{labels} (t1, t2)" in message
    assert "data/models/none.pth" in message
    assert not paths_of(make()).root.exists()


def test_a_missing_list_names_those_that_there_are(make):
    with pytest.raises(UserError, match=r"train_aug\.txt.*: classes, train, val"):
        train.run(make(DATASET__SPLIT__TRAIN="train_aug"))


def test_missing_labels_name_the_program_that_makes_them(make):
    settings = make(DATASET__LABEL_DIR=None, EXP__ID="nobody")
    with pytest.raises(UserError, match=r"pseudo_seg_labels_nobody: add them \(gen_gt\.py --experiment_name nobody"):
        train.run(settings)


def test_a_wrong_number_of_classes_is_refused(make):
    with pytest.raises(UserError, match=r"N_CLASSES: 21: .*toy .*--DATASET\.N_CLASSES=3"):
        train.run(make(DATASET__N_CLASSES=21))


def test_class_names_come_from_a_published_list_of_labels(make, tmp_path):
    (tmp_path / "labels.txt").write_text("0\tbackground\n1\ttiger\n2\twolf\n")
    settings = make(DATASET__LABELS=str(tmp_path / "labels.txt"))
    train.run(settings)
    assert "tiger" in paths_of(settings).log.read_text()
    (tmp_path / "labels.txt").write_text("0 background\n2 wolf\n")
    with pytest.raises(UserError, match=r"'2 wolf': .*`1 NAME`"):
        train.run(settings)


def test_a_step_between_readings_reads_nothing_from_the_device(make):
    """Meta tensors have no values: reading one is an error."""
    settings = make()
    dataset = inputs.open_data(settings.DATASET)
    network = make_network(settings.MODEL, 3)
    samples = train.make_samples(settings, train.check_input(settings, dataset), network)
    task = train.SegmentationTask(network, samples, settings.SOLVER)
    trainer = Trainer(task, train.make_settings(settings), None, Process(0, 1, torch.device("meta")))
    trainer.batches = iter([default_collate([samples[0, index] for index in (0, 1)])])
    trainer.step(1)
    assert [step for step, _, _ in trainer.unread] == [1]


def test_corrected_labels_count_more_and_the_mean_weight_stays():
    names = ["a", "b", "c", "d"]
    weights = train.weights_of(names, {"b"}, 5.0)
    assert weights["b"] == pytest.approx(5 * weights["a"]) and sum(weights.values()) == pytest.approx(len(names))
    assert train.weights_of(names, set(), 5.0) is None


def test_a_list_of_corrected_labels_changes_the_training_and_is_checked(data, tmp_path):
    (data / "corrected.txt").write_text("t1\n")
    runs = {}
    for name, more in {"plain": {}, "weighted": {"DATASET__CORRECTED_LIST": "corrected"}}.items():
        out = {"EXP__OUTPUT_DIR": str(tmp_path / name), "SOLVER__ITER_MAX": 2}
        runs[name] = train.run(small_settings(data, Settings, **out, **more))
    weights = [read_checkpoint(path)["state_dict"] for path in runs.values()]
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert "1 labels are corrected: their pixels count 5 times" in (runs["weighted"].parent / "log.txt").read_text()
    (data / "corrected.txt").write_text("t2\n")  # as many, but another one
    more = {"DATASET__CORRECTED_LIST": "corrected", "SOLVER__ITER_MAX": 3, "SOLVER__RESUME": True}
    with pytest.raises(UserError, match="digest of the corrected list"):
        train.run(small_settings(data, Settings, EXP__OUTPUT_DIR=str(tmp_path / "weighted"), **more))
    (data / "corrected.txt").write_text("v0\n")
    with pytest.raises(UserError, match=r"corrected\.txt.*v0"):
        train.run(small_settings(data, Settings, DATASET__CORRECTED_LIST="corrected", EXP__ID="other"))


def test_pasting_objects_changes_the_training_and_needs_labels_with_a_single_class(data, tmp_path):
    runs = {}
    for name, probability in {"plain": 0.0, "pasted": 1.0}.items():
        out = {"EXP__OUTPUT_DIR": str(tmp_path / name), "SOLVER__ITER_MAX": 2}
        runs[name] = train.run(small_settings(data, Settings, DATASET__PASTE=probability, **out))
    weights = [read_checkpoint(path)["state_dict"] for path in runs.values()]
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert "labels with one class are pasted into other images" in (runs["pasted"].parent / "log.txt").read_text()
    with pytest.raises(UserError, match=r"no label has a single class.*PASTE=0"):
        train.check_sources((), tmp_path)


def test_a_weight_of_corrected_labels_without_their_list_is_refused(data):
    with pytest.raises(UserError, match=r"CORRECTED_WEIGHT=3.*CORRECTED_LIST"):
        train.run(small_settings(data, Settings, DATASET__CORRECTED_WEIGHT=3))
