"""The plan: its arithmetic, what fits on a card, and the output of both programs."""

import json

import pytest
import torch

from deeplabv2 import train as segmentation
from deeplabv2.step_settings import TrainSettings
from scripts import train
from tests.planned import classifier_task
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.files.locate import PROJECT_ROOT
from utils.training.plan import CONTEXT_GIB, GAPS, GIB, Length, Plan, planned_device

SMALL = ["--width=0.0625", "--resize=64", "--input_size=64", "--crop_size=48", "--num_patches=4"]
# images whose activations are larger than the gradients
LARGER = ["--resize=128", "--input_size=128", "--crop_size=96"]
KEYS = {
    "parameters", "trainable", "steps", "tflop_forward", "tflop_step", "tflop_run", "saved_activations_gib",
    "weights_gib", "gradients_gib", "optimizer_gib", "peak_gib", "hours",
}  # fmt: skip


def plan_of(*flags, images=120, world_size=1):
    options = parse_options(TrainOptions, [*SMALL, *flags])
    settings = train.make_settings(options, num_images=images, world_size=world_size)
    length = Length(images, settings.schedule.steps, settings.saving.interval, world_size)
    return Plan(classifier_task(options), settings, length, planned_device(options.device))


def test_a_run_is_its_steps_and_a_step_is_its_batches():
    one, two = plan_of("--batch_size=2"), plan_of("--batch_size=2", "--accumulate=3", "--epochs=4")
    assert one.flop_run == one.flop_step * 600 and two.flop_run == two.flop_step * 80
    assert two.flop_step == 3 * one.flop_step and two.flop_forward == 3 * one.flop_forward
    assert one.hours(2.0) == pytest.approx(one.flop_run / 2e12 / 3600)
    assert two.memory.peak > one.memory.peak  # gradients are kept during the next batch


def test_optimisers_and_averages_have_their_state():
    def state(*flags):
        memory = plan_of(*flags).memory
        return memory.optimizer / memory.gradients, memory

    assert state()[0] == 1 and state("--momentum=0")[0] == 0 and state("--optimizer=adamw")[0] == 2
    ratio, memory = state("--average_weights=0.9")
    assert ratio == 1 + memory.weights / memory.gradients


def test_checkpointing_saves_memory_for_work():
    plain, again = plan_of(*LARGER), plan_of(*LARGER, "--checkpoint_activations")
    assert again.memory.saved < 0.7 * plain.memory.saved and again.memory.peak < plain.memory.peak
    assert 1.1 < again.flop_step / plain.flop_step < 1.5
    assert plain.other_memory()[1] == again.memory and again.other_memory()[1] == plain.memory


def test_more_passes_of_the_local_network_save_memory_and_no_work():
    one, two = plan_of(*LARGER), plan_of(*LARGER, "--local_passes=2")
    assert two.memory.saved < 0.8 * one.memory.saved and two.flop_step == one.flop_step


def test_a_pasted_twin_is_an_image_too():
    assert plan_of("--cda=cda", "--batch_size=2").flop_step == plan_of("--batch_size=4").flop_step


def test_a_planned_batch_that_fits_is_kept_where_gradients_are_larger_than_images():
    """Smaller batches would need accumulation, whose gradients do not fit."""
    plan = plan_of("--batch_size=4", "--width=0.5")
    one, less = (plan.memory_of(plan.needs_of(n, recompute=False), accumulate=a).peak for n, a in ((4, 1), (3, 2)))
    assert one < less
    assert plan.largest_batch(((one + less) / 2 / GIB + CONTEXT_GIB) / (1 - GAPS)) >= 4


@pytest.mark.parametrize(("planned", "fits"), [(1, 3), (4, 2), (4, 9)])
def test_the_largest_batch_fits_and_the_next_does_not(planned, fits):
    """The card's memory is between the requirements of two batches, accumulated if below the planned batch."""
    plan = plan_of(*LARGER, f"--batch_size={planned}")
    accumulate = 1 if fits > planned else 2
    needs = [plan.memory_of(plan.needs_of(n, recompute=False), accumulate=accumulate).peak for n in (fits, fits + 1)]
    largest = plan.largest_batch((sum(needs) / 2 / GIB + CONTEXT_GIB) / (1 - GAPS))
    assert largest == fits
    fitting, times = plan.split(largest)
    assert fitting <= largest and fitting * times == planned
    assert plan.largest_batch(CONTEXT_GIB) == 0


def test_the_classifier_shows_and_writes_its_plan_without_data(tmp_path, capsys):
    flags = ["--plan", "--plan_images=30", "--plan_tflops=2", "--plan_memory=8", f"--plan_json={tmp_path / 'p.json'}"]
    assert train.run(parse_options(TrainOptions, [*SMALL, *LARGER, f"--runs_dir={tmp_path}", *flags])) is None
    found = json.loads((tmp_path / "p.json").read_text())
    assert found.keys() >= KEYS and found["steps"] == 100 and found["largest_batch"] > 3
    assert found["hours"] == pytest.approx(found["tflop_run"] / 2 / 3600)
    assert found["with_checkpointing"]["peak_gib"] < found["peak_gib"]
    lines = capsys.readouterr().out.splitlines()
    assert "100 steps" in lines[0] and "GiB peak" in lines[1] and any("--accumulate=" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_without_a_list_the_plan_asks_for_the_number_of_images(tmp_path, capsys):
    flags = ["--plan", "--plan_tflops=2", f"--plan_json={tmp_path / 'p.json'}", "--dataset=data/nowhere"]
    train.run(parse_options(TrainOptions, [*SMALL, *flags]))
    found, text = json.loads((tmp_path / "p.json").read_text()), capsys.readouterr().out
    assert found["steps"] is None and found["tflop_run"] is None and found["hours"] is None
    assert "--plan_images" in text and "20 classes" in text


def test_the_speed_of_a_device_is_only_measured_where_it_gives_hours(monkeypatch):
    monkeypatch.setattr("utils.training.show_plan.matrix_tflops", lambda *_: pytest.fail("measured in vain"))
    train.run(parse_options(TrainOptions, [*SMALL, "--plan", "--dataset=data/nowhere"]))


def test_a_card_that_is_not_here_is_planned_for_and_not_measured(capsys):
    assert plan_of("--device=cuda", "--amp=auto").as_json()["amp"] == "bf16"
    train.run(parse_options(TrainOptions, [*SMALL, "--plan", "--plan_images=30", "--device=cuda"]))
    assert torch.cuda.is_available() or "--plan_tflops" in capsys.readouterr().out


def test_the_segmentation_network_shows_and_writes_its_plan_without_data(tmp_path, capsys):
    config = PROJECT_ROOT / "deeplabv2" / "configs" / "demo.yaml"
    flags = ["--plan", "--plan_tflops=0.1", "--plan_memory=4", f"--plan_json={tmp_path / 'p.json'}"]
    flags.append("--SOLVER.ITER_MAX=300")
    assert segmentation.run(parse_options(TrainSettings, [f"--config={config}", *flags])) is None
    found = json.loads((tmp_path / "p.json").read_text())
    assert found.keys() >= KEYS and found["steps"] == 300
    assert "--SOLVER.ITER_SIZE=" in capsys.readouterr().out


@pytest.mark.parametrize("options_class", [TrainOptions, TrainSettings])
def test_options_of_a_plan_need_the_plan(options_class, capsys):
    with pytest.raises(SystemExit):
        parse_options(options_class, ["--plan_memory=24"])
    assert "--plan" in capsys.readouterr().err
