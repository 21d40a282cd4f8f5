"""The demo: its output, and that its short training depends only on the seed."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from scripts import make_cams, make_demo_data, make_labels, score_cams, train
from utils.config.options import CamOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.options.prepare import DemoDataOptions
from utils.config.parser import parse_options
from utils.files.locate import PROJECT_ROOT

# a quarter of the work of a step
SMALLER = ("--resize=128", "--input_size=112", "--crop_size=56", "--cam_base_size=128", "--cam_scales=1.0")
STEPS = PROJECT_ROOT / "scripts" / "steps.sh"


def run_steps(folder: Path, *lines: str) -> subprocess.CompletedProcess:
    script = "\n".join(["set -euo pipefail", f"source '{STEPS}'", f"LOG={folder}/log STEPS=2", ': >"$LOG"', *lines])
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


def test_a_step_is_one_line_and_its_output_goes_to_the_log(tmp_path):
    done = run_steps(tmp_path, "step 'say hello' quietly echo hello", "step 'end' quietly true")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert [re.sub(r"\d+ s", "N s", line) for line in lines] == ["[1/2] say hello (N s)", "[2/2] end (N s)"]
    assert "hello" in (tmp_path / "log").read_text().splitlines()


def test_a_step_that_fails_ends_the_demo_and_shows_the_end_of_the_log(tmp_path):
    both = "both() { quietly sh -c 'echo wrong option; exit 3'; quietly echo never; }"
    done = run_steps(tmp_path, both, "step 'try' both", "step 'not reached' quietly true")
    assert done.returncode == 3
    assert "wrong option" in done.stderr and "not reached" not in done.stdout
    assert "never" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("threads", "each"), [(1, 1), (5, 3), (8, 4), (16, 4)])
def test_functions_run_side_by_side_with_half_of_the_cores_each(tmp_path, threads, each):
    # each waits until the other has started
    meet = "touch {0}/$1; for i in $(seq 100); do [[ ! -e {0}/$2 ]] || return 0; sleep 0.1; done; return 1"
    functions = f"meet() {{ {meet.format(tmp_path)}; }}; a() {{ meet 1 2; quietly sh -c 'echo a $OMP_NUM_THREADS'; }}"
    other = "b() { meet 2 1; quietly sh -c 'echo b $OMP_NUM_THREADS'; }"
    # a processor of eight cores
    nproc = 'nproc() { local n="${OMP_NUM_THREADS:-8}"; echo "$n"; }; env() { echo 8; }'
    done = run_steps(tmp_path, f"export OMP_NUM_THREADS={threads}", nproc, functions, other, "step 'both' beside a b")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if line and line[0] != "$"] == [f"a {each}", f"b {each}"]
    assert not (tmp_path / "log.beside").exists()


@pytest.mark.parametrize(
    ("a", "b", "status"), [("exit 4", "exit 5", 4), ("exit 0", "exit 5", 5), ("exit 4", "exit 0", 4)]
)
def test_a_failure_of_either_of_two_is_the_end_of_the_log(tmp_path, a, b, status):
    functions = [f"{name}() {{ quietly sh -c 'echo end of {name}; {end}'; }}" for name, end in (("a", a), ("b", b))]
    done = run_steps(tmp_path, *functions, "step 'both' beside a b", "step 'not reached' quietly true")
    assert done.returncode == status and "not reached" not in done.stdout
    assert done.stderr.splitlines()[-1] == ("end of a" if status == 4 else "end of b")


def labels_of_a_short_run(data: Path, seed: int) -> float:
    """Return the mIoU of the demo's pseudo labels, by its preset with fewer steps, on the generated pictures `data`."""
    run = [f"--experiment_name=short_{seed}", f"--runs_dir={data.parent / 'runs'}"]
    machine = ["--num_workers=0", "--device=cpu", "--amp=off"]
    settings = [
        f"--config={PROJECT_ROOT / 'configs' / 'demo.yaml'}",
        f"--dataset={data}",
        f"--seed={seed}",
        "--epochs=3",
    ]
    train.run(parse_options(TrainOptions, [*settings, *SMALLER, *run, *machine]))
    make_cams.run(parse_options(CamOptions, [*run, *machine]))
    labels = data.parent / f"labels_{seed}"
    rule = ["--saliency_weight=0.5", "--saliency_support=0.3", "--threshold=0.4", "--crf", f"--label_dir={labels}"]
    make_labels.run(parse_options(LabelOptions, [*run, *rule, "--num_workers=1"]))
    scored = [*run, "--mode=png", f"--pred_dir={labels}", "--num_workers=1"]
    return json.loads(score_cams.run(parse_options(ScoreOptions, scored)).read_text())["mean_iou"]


@pytest.mark.slow
def test_the_seed_moves_the_labels_little(tmp_path: Path):
    """Measured, % mIoU: 56.1 with seed 0, 57.4 with seed 1; with four epochs 56.6, 57.2, and 57.1 with two threads."""
    make_demo_data.run(DemoDataOptions(out=tmp_path / "demo", num_train=32, num_val=1, num_workers=0))
    found = [labels_of_a_short_run(tmp_path / "demo", seed) for seed in (0, 1)]
    assert abs(found[0] - found[1]) < 0.06
    assert min(found) > 0.45
