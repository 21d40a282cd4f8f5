"""After a fatal error, training ends quickly with its workers, with one line if the user can fix it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.small_training import make_training_data, small_options
from utils.config.parser import save_options
from utils.data.images import write_image
from utils.files.locate import PROJECT_ROOT
from utils.runs.paths import RunPaths

# mostly for importing torch and starting on a busy machine
STARTING_SECONDS = 120


def start(data, tmp_path, **more):
    options = small_options(data, experiment_name="exp", epochs=1000, save_minutes=1000.0, **more)
    save_options(options, tmp_path / "options.yaml")
    process = subprocess.Popen(
        [sys.executable, str(PROJECT_ROOT / "train_l2g.py"), f"--config={tmp_path / 'options.yaml'}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return process, RunPaths.of(options.runs_dir, "exp")


def workers_of(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_ends_training_with_one_line_that_names_it(tmp_path, workers):
    data = make_training_data(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (36, 44, 3), dtype=np.uint8)
    (data / "JPEGImages" / "p3.png").unlink()
    path = data / "JPEGImages" / "p3.jpg"
    write_image(path, image)
    path.write_bytes(path.read_bytes()[:1000])
    process, _ = start(data, tmp_path, num_workers=workers)
    _, errors = process.communicate(timeout=STARTING_SECONDS)
    assert process.returncode == 1
    assert "Traceback" not in errors
    named = [line for line in errors.splitlines() if str(path) in line]
    assert len(named) == 1 and errors.rstrip().endswith(named[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_training_ends_with_its_workers_when_one_is_killed(tmp_path):
    process, paths = start(make_training_data(tmp_path), tmp_path, num_workers=2)
    try:
        wait_for(lambda: paths.metrics.is_file() and paths.metrics.read_text().count("\n") > 1, STARTING_SECONDS)
        workers = workers_of(process)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        process.communicate(timeout=STARTING_SECONDS)  # on a busy machine the interpreter needs time to exit
    finally:
        process.kill()
    assert process.returncode == 1
    assert [pid for pid in workers if is_running(pid)] == []
