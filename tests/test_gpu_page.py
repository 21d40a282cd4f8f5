"""The table in docs/gpu.md equals the output of --plan."""

import re

import pytest

from deeplabv2 import train as segmentation
from deeplabv2.settings import parse_settings
from scripts import train
from tests.planned import classifier_task, segmentation_task
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.files.locate import PROJECT_ROOT
from utils.training.plan import GIB, Length, Plan, planned_device

ROWS = {
    cells[0].strip("` "): [cell.strip() for cell in cells[1:]]
    for line in (PROJECT_ROOT / "docs" / "gpu.md").read_text().splitlines()
    if re.match(r"\| `\S+\.yaml` \|", line)
    for cells in [line.strip("| ").split("|")]
}


def plan_of(preset, amp):
    path = PROJECT_ROOT / preset
    if preset.startswith("deeplabv2"):
        settings = parse_settings([f"--config={path}", f"--SOLVER.AMP={amp}"])
        labels = settings.DATASET.N_CLASSES or 21
        task, made = segmentation_task(settings, labels=labels), segmentation.make_settings(settings)
    else:
        options = parse_options(TrainOptions, [f"--config={path}", f"--amp={amp}"])
        classes = 80 if "coco" in preset else 20
        task, made = (
            classifier_task(options, classes=classes),
            train.make_settings(options, num_images=1000, world_size=1),
        )
    return Plan(task, made, Length(None, None, None), planned_device("cpu"))


def test_the_table_has_a_row_for_every_preset_of_gpus():
    assert len(ROWS) == 6 and all((PROJECT_ROOT / preset).is_file() for preset in ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ROWS)
def test_the_table_says_what_the_plan_computes(preset):
    batch, *shown = ROWS[preset]
    computed, largest = [], []
    for amp in ("off", "bf16"):
        plan = plan_of(preset, amp)
        assert int(batch) == plan.sampling.batch_size
        largest.append(str(plan.largest_batch(24)))
        computed.append((plan.memory.peak / GIB, plan.other_memory()[1].peak / GIB))
    (plain, checkpointed), (half, half_checkpointed) = computed
    for cell, value in zip(shown, (plain, half, checkpointed, half_checkpointed)):
        assert float(cell) == pytest.approx(value, abs=0.051), (preset, cell)
    assert shown[4] == ", ".join(largest), preset
