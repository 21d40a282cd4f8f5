"""A clone made on Windows, where Git writes carriage returns unless it is told not to, runs under WSL and Git Bash."""

import shutil
import subprocess
from pathlib import Path

import pytest

from utils.files.locate import PROJECT_ROOT

pytestmark = pytest.mark.skipif(
    not (PROJECT_ROOT / ".git").exists() or shutil.which("git") is None, reason="the project is not a Git clone"
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "clone"
    # both ways in which Git for Windows is set up
    settings = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    command = ["git", *settings, "clone", "--quiet", "--depth=1", *settings, f"file://{PROJECT_ROOT}", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_no_text_has_carriage_returns(clone):
    listed = run("git", "ls-files", "--eol", folder=clone).stdout.splitlines()
    wrong = [line for line in listed if "w/crlf" in line.split() or "w/mixed" in line.split()]
    assert len(listed) > 100 and wrong == []


def test_every_script_can_be_read_and_one_runs(clone):
    scripts = [path for path in clone.rglob("*.sh") if ".git" not in path.parts]
    assert scripts
    for path in scripts:
        ended = run("bash", "-n", str(path), folder=clone)
        assert ended.returncode == 0, f"{path}: {ended.stderr}"
    shown = run("bash", "train_test_L2G_own.sh", "--help", folder=clone)
    assert shown.returncode == 0 and "\r" not in shown.stdout and "TAGS.csv" in shown.stdout
    common = run("bash", "-c", "set -euo pipefail; . scripts/common.sh", folder=clone)
    assert common.returncode == 0 and common.stderr == ""
