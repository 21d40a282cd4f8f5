"""Steps that need no network run without torch, in worker processes too, and therefore start within a second."""

import os
import subprocess
import sys

import pytest

from tests.small_run import make_small_run
from utils.files.locate import PROJECT_ROOT

# stands for torch in every process of the program, and leaves a trace even where its error is caught
REFUSED = """
import pathlib, sys
pathlib.Path({trace!r}).write_text(" ".join(sys.argv))
raise ModuleNotFoundError("torch was imported", name="torch")
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("evaluate.py", []),
        ("gen_gt.py", ["--threshold=0.2", "--crf=true", "--label_dir={folder}/labels"]),
        ("res.py", []),
        ("scripts/check_data.py", []),
        ("scripts/import_labels.py", ["--labels={folder}/toy/SegmentationClass", "--out={folder}/imported"]),
    ],
)
def test_steps_without_a_network_and_their_workers_need_no_torch(tmp_path, program, flags, workers):
    named = make_small_run(tmp_path)
    if program.startswith("scripts/"):  # these read a dataset, not a run
        named = {"dataset": named["dataset"]}
    options = [f"--{name}={value}" for name, value in named.items()]
    options += [f"--num_workers={workers}", *(flag.format(folder=tmp_path) for flag in flags)]
    trace, shadow = tmp_path / "trace", tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "torch.py").write_text(REFUSED.format(trace=str(trace)))
    env = {**os.environ, "PYTHONPATH": f"{shadow}{os.pathsep}{PROJECT_ROOT}"}
    command = [sys.executable, str(PROJECT_ROOT / program), *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert not trace.exists(), trace.read_text()
    assert "Traceback" not in done.stderr, done.stderr
    if program != "scripts/check_data.py":  # reports that the small images are no training data
        assert done.returncode == 0, done.stderr
