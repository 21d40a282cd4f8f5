"""The environment step of the shell scripts: what it installs, and its one-line errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from utils.files.locate import PROJECT_ROOT

packaging = pytest.importorskip("packaging.requirements", reason="pip install packaging")
# commands that the shell scripts need, except Python
TOOLS = ("bash", "cat", "awk", "df", "dirname", "grep", "mkdir", "sed", "uname")


def requirements(name: str) -> dict[str, packaging.Requirement]:
    """The entries of a list of packages, by canonical name."""
    lines = (line.split("#")[0].strip() for line in (PROJECT_ROOT / name).read_text().splitlines())
    entries = [packaging.Requirement(line) for line in lines if line and not line.startswith("-r")]
    return {re.sub(r"[-_.]+", "-", entry.name).lower(): entry for entry in entries}


def test_running_needs_no_tools_of_tests_and_no_compiler():
    running, testing = requirements("requirements.txt"), requirements("requirements-dev.txt")
    assert {"pytest", "ruff", "mypy", "selenium", "onnx", "pydensecrf2", "scikit-image"} <= testing.keys()
    assert not running.keys() & testing.keys()


def test_constraints_fit_what_is_required():
    exact = requirements("constraints.txt")
    for name, entry in (requirements("requirements.txt") | requirements("requirements-dev.txt")).items():
        (version,) = (spec.version for spec in exact[name].specifier)
        assert entry.specifier.contains(version), name


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with only the environment step, and a PATH in `bin` without Python and compilers."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/common.sh", "scripts/environment.sh", "requirements.txt", "constraints.txt"):
        (tmp_path / name).write_text((PROJECT_ROOT / name).read_text())
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = next(Path(folder) / tool for folder in os.defpath.split(":") if (Path(folder) / tool).exists())
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make_environment(project: Path, **variables: str) -> subprocess.CompletedProcess:
    script = "set -euo pipefail; source scripts/common.sh; make_environment; echo made"
    environment = {"PATH": str(project / "bin")} | variables
    return subprocess.run(
        ["bash", "-c", script], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def refusal(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "made" not in done.stdout
    return line


def test_no_python_is_one_line(project):
    assert "3.11" in refusal(make_environment(project))


def test_an_old_python_is_one_line(project):
    program(project, "python3", "echo 3.9")
    assert "3.9" in refusal(make_environment(project))
    assert "3.9" in refusal(make_environment(project, PYTHON="python3"))


def test_a_supported_python_behind_an_old_one_is_found(project):
    program(project, "python3", "echo 3.9")
    program(project, "python3.12", 'case "$2" in *version*) echo 3.12;; *) exit 1;; esac')
    assert "python3.12 has no venv module" in refusal(make_environment(project))


def test_a_full_disk_is_one_line(project):
    (project / "bin" / "python3").symlink_to(sys.executable)
    (project / "bin" / "df").unlink()
    program(project, "df", "printf 'Filesystem blocks Used Available\\n/dev/x 9 9 2000000 9%% /\\n'")
    line = refusal(make_environment(project))
    assert "1 GB" in line and str(project) in line


def test_constraints_that_are_missing_are_one_line(project):
    assert "nothing.txt" in refusal(make_environment(project, CONSTRAINTS="nothing.txt"))


def test_a_chosen_python_without_the_packages_is_one_line(project):
    program(project, "bare", f'exec "{sys.executable}" -S "$@"')
    line = refusal(make_environment(project, PYTHON=str(project / "bin" / "bare")))
    assert "torch" in line and "requirements.txt" in line


def test_a_chosen_python_with_the_packages_is_taken(project):
    done = make_environment(project, PYTHON=sys.executable)
    assert (done.returncode, done.stdout, done.stderr) == (0, "made\n", "")


@pytest.mark.parametrize(("constraints", "expected"), [({}, "--constraint"), ({"CONSTRAINTS": ""}, "--upgrade")])
def test_packages_are_installed_once_with_the_recorded_versions_or_the_newest(project, constraints, expected):
    log = project / "pip.log"
    pip = f'case "$2" in pip) echo "$@" >>"{log}";; *) echo 3.12;; esac'
    program(project, "fake", pip)
    install = f'mkdir -p "$3/bin" && cat "{project}/bin/fake" >"$3/bin/python" && chmod +x "$3/bin/python"'
    program(project, "python3", f'case "$2" in venv) {install};; *) echo 3.12;; esac')
    (project / "bin" / "chmod").symlink_to("/bin/chmod")
    first = make_environment(project, **constraints)
    assert first.returncode == 0 and first.stdout.endswith("made\n"), first
    (line,) = log.read_text().splitlines()
    assert expected in line and "requirements.txt" in line
    assert make_environment(project, **constraints).stdout == "made\n"
    assert len(log.read_text().splitlines()) == 1
