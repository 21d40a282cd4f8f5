"""The demo: its output, and that its short training depends only on the seed."""

import re
import subprocess
from pathlib import Path

from utils.files.locate import PROJECT_ROOT

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
