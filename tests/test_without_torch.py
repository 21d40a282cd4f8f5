"""Steps that need no network run without torch, and therefore start within a second."""

import os
import subprocess
import sys

import pytest

from tests.small_run import make_small_run
from utils.files.locate import PROJECT_ROOT

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "flags"),
    [("evaluate.py", []), ("gen_gt.py", ["--threshold=0.2", "--crf=true", "--label_dir={folder}/labels"])],
)
def test_scores_and_labels_of_cams_need_no_torch(tmp_path, program, flags):
    named = make_small_run(tmp_path)
    options = [f"--{name}={value}" for name, value in named.items()]
    options += ["--num_workers=1", *(flag.format(folder=tmp_path) for flag in flags)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, PROJECT_ROOT / program, *options],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
