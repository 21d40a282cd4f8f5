"""The end of a program: one line for mistakes of the user, a traceback for bugs, no worker left behind."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from utils.config.options.groups import RunOptions
from utils.config.program import main
from utils.config.valid import LoaderWorkers, Processes
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT

HEAVY = ("numpy", "torch", "timm", "numba", "matplotlib", "scipy", "cv2")
PROGRAMS = [
    *("train_l2g.py", "test_l2g.py", "gen_gt.py", "evaluate.py", "res.py", "deeplabv2/eval.py"),
    *(f"deeplabv2/main.py {command}" for command in ("train", "test", "crf", "predict")),
    "scripts/benchmark/__main__.py",
    *sorted(f"scripts/{p.name}" for p in (PROJECT_ROOT / "scripts").glob("*.py") if "__main__" in p.read_text()),
]
# runs each program in a fork, as `python PROGRAM --help` would, and prints its status and the libraries it imported
WATCH = """
import json, os, runpy, sys
from pathlib import Path
import utils.config.program
for program, flag in json.loads(sys.argv[1]):
    if os.fork():
        os.wait()
        continue
    sys.argv = [*program.split(), flag]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as request:
        heavy = [name for name in {heavy} if name in sys.modules]
        print(json.dumps([program, flag, request.code, heavy]), file=sys.stderr)
    sys.stderr.flush()
    os._exit(0)
"""


@dataclass(frozen=True)
class Options(RunOptions):
    """An example."""

    num_workers: Processes = 2
    """Processes."""
    loader_workers: LoaderWorkers = 2
    """Processes of a loader."""


def ending(run, *argv):
    with pytest.raises(SystemExit) as caught:
        main(Options, run, argv=argv)
    return caught.value.code


def fail(error):
    def run(options):
        raise error

    return run


def test_help_and_a_mistyped_option_need_no_heavy_library():
    calls = [*((program, "--help") for program in PROGRAMS), (PROGRAMS[0], "--mistyped=1")]
    code = WATCH.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(calls)], capture_output=True, text=True, cwd=PROJECT_ROOT
    )
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('["')]
    assert found == [[program, flag, 0 if flag == "--help" else 2, []] for program, flag in calls], done.stderr


def test_a_run_without_error_ends_with_status_0():
    seen = []
    assert ending(seen.append, "--num_workers=3") == 0
    assert seen == [Options(num_workers=3)]


def test_what_a_person_can_fix_is_one_line_without_a_traceback(capsys):
    assert ending(fail(UserError("no list", "data", remedy="make one"))) == 1
    assert capsys.readouterr().err == "error: data: no list: make one\n"


def test_a_bug_keeps_its_traceback_and_asks_for_the_versions_of_the_run(capsys, tmp_path):
    (tmp_path / "exp").mkdir()
    versions = tmp_path / "exp" / "versions.json"
    versions.write_text("{}")
    assert ending(fail(ZeroDivisionError("in a step")), f"--runs_dir={tmp_path}", "--experiment_name=exp") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and "ZeroDivisionError: in a step" in lines
    assert str(versions) in lines[-1]


def test_debug_shows_every_traceback_and_works_without_worker_processes(capsys):
    assert ending(fail(UserError("no list")), "--debug") == 1
    assert "Traceback" in capsys.readouterr().err
    seen = []
    assert ending(seen.append, "--debug", "--num_workers=3") == 0
    assert (seen[0].num_workers, seen[0].loader_workers) == (1, 0)


def test_an_interruption_is_one_line(capsys):
    assert ending(fail(KeyboardInterrupt())) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_status_that_the_run_asks_for_is_kept():
    assert ending(lambda options: sys.exit(3)) == 3


def sleep_deaf(started):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    started.set()
    time.sleep(60)


@pytest.mark.slow
@pytest.mark.parametrize("error", [UserError("a file is cut"), RuntimeError("a bug")])
def test_a_fatal_error_ends_workers_that_ignore_signals(error):
    def run(options):
        context = multiprocessing.get_context("spawn")
        started = context.Event()
        context.Process(target=sleep_deaf, args=(started,)).start()
        started.wait(30)
        raise error

    previous = signal.getsignal(signal.SIGCHLD)
    start = time.monotonic()
    assert ending(run) == 1
    signal.signal(signal.SIGCHLD, previous)
    assert multiprocessing.active_children() == []
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_program_while_it_imports_a_module_that_catches_everything(tmp_path, number, status):
    (tmp_path / "greedy.py").write_text(
        "import time\nprint('importing', flush=True)\n"
        "for _ in range(100):\n    try:\n        time.sleep(0.1)\n    except BaseException:\n        pass\n"
        "def run(options):\n    print('ran')\n"
    )
    code = (
        f"import sys\nsys.path[:0] = [{str(PROJECT_ROOT)!r}, {str(tmp_path)!r}]\n"
        "from utils.config.options.score import ScoreOptions\nfrom utils.config.program import main\n"
        "main(ScoreOptions, 'greedy', argv=[])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == status and out == ""
    assert errors.count("\n") == 1 and "run the same command again" in errors
