"""A row of the table (how to make a bad input, what to run, what is expected), and running it."""

import os
import re
import runpy
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from utils.files.locate import PROJECT_ROOT

SECONDS = 60  # seconds after which a case counts as hanging
patience = 1.0  # factor on this time, for a machine that other programs use
ENDING = 5.0  # seconds within which all processes of an ended program must have exited
LINES = 12  # lines of an error, including its list of options
MOST_OUTPUT = 1_000_000  # bytes

Check = Callable[[Path, str], str | None]  # the case's folder and the output -> what is wrong


@dataclass(frozen=True)
class Expected:
    """How a program must end. words: regular expressions for its output; check: further conditions."""

    what: str
    statuses: tuple[int, ...]
    words: tuple[str, ...] = ()
    check: Check | None = None


def refused(*words: str, check: Check | None = None) -> Expected:
    """One error without a traceback that matches all of `words`."""
    return Expected("refused", (1, 2), words, check)


def works(*words: str, check: Check | None = None) -> Expected:
    return Expected("works", (0,), words, check)


def either(*words: str, check: Check | None = None) -> Expected:
    """Success or an error, but no traceback and no hang."""
    return Expected("refused or works", (0, 1, 2), words, check)


@dataclass(frozen=True)
class Case:
    """world: the initial folder (see worlds.py); make: changes it.

    run: words of a program, or a shell line, in which $PY is the interpreter and $ROOT the project's folder.

    before: programs that run first and must succeed.
    """

    name: str
    world: str
    run: Sequence[str] | str
    expected: Expected
    make: Callable[[Path], object] = lambda folder: None
    before: tuple[Sequence[str], ...] = ()
    seconds: float = SECONDS


@dataclass(frozen=True)
class Ended:
    """How a program ended. status None: it was killed after its timeout."""

    status: int | None
    output: str
    seconds: float
    orphans: int


def start(run: Sequence[str] | str, folder: Path, output: Path) -> int:
    """Start a program in a fork of this process, or a shell line. Returns the id of its session."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(target, number)
        if isinstance(run, str):
            names = {"PY": sys.executable, "ROOT": str(PROJECT_ROOT)}
            os.execvpe("bash", ["bash", "-c", run], os.environ | names)
        # a pool of threads does not survive a fork, and two threads that replace it at once abort the program
        torch.set_num_threads(1)
        program = PROJECT_ROOT / run[0]
        sys.argv, sys.path[0] = [str(program), *run[1:]], str(program.parent)
        runpy.run_path(str(program), run_name="__main__")
    except SystemExit as request:
        if isinstance(request.code, str):
            print(request.code, file=sys.stderr)
        status = request.code if isinstance(request.code, int) else 0 if request.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(words: Sequence[str] | str, folder: Path, output: Path, *, seconds: float = SECONDS) -> Ended:
    """Wait for the end, or kill it after the timeout."""
    seconds *= patience
    begun = time.monotonic()
    child = start(words, folder, output)
    status = None
    while time.monotonic() - begun < seconds:
        found, code = os.waitpid(child, os.WNOHANG)
        if found:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(0.02)
    taken = time.monotonic() - begun
    orphans = _left(child, ENDING if status is not None else 0)
    end_session(child)
    if status is None:
        os.waitpid(child, 0)
    return Ended(status, output.read_text(errors="replace") if output.exists() else "", taken, orphans)


def _left(session: int, seconds: float) -> int:
    """Return how many processes of the session are still alive after so many seconds."""
    deadline = time.monotonic() + seconds
    while (members := members_of(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(members)


def members_of(session: int) -> list[int]:
    """Return the processes of a session without zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[3]) == session:
            found.append(int(folder.name))
    return found


def end_session(session: int) -> None:
    for member in members_of(session):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue


def judge(case: Case, folder: Path) -> tuple[str | None, Ended]:
    """Return what went wrong, or None."""
    case.make(folder)
    for number, words in enumerate(case.before):
        ended = run(words, folder, folder / f".before{number}.txt")
        if ended.status != 0:
            return f"the program before it ended with {ended.status}: {last_line(ended.output)}", ended
    ended = run(case.run, folder, folder / ".output.txt", seconds=case.seconds)
    return _wrong(case, ended, folder), ended


def _wrong(case: Case, ended: Ended, folder: Path) -> str | None:
    expected, text = case.expected, ended.output
    if ended.status is None:
        return f"hangs (killed after {case.seconds * patience:g} s)"
    if ended.orphans:
        return f"{ended.orphans} processes live on"
    if "Traceback (most recent call last)" in text:
        return "traceback"
    if ended.status not in expected.statuses:
        return f"status {ended.status}"
    if len(text) > MOST_OUTPUT:
        return f"{len(text)} bytes printed"
    if ended.status in (1, 2) and len(text[text.find("error:") :].splitlines()) > LINES:
        return "a long error"
    for word in expected.words:
        if not re.search(word, text, re.IGNORECASE | re.DOTALL):
            return f"does not say {word!r}"
    try:
        return expected.check(folder, text) if expected.check else None
    except (OSError, ValueError) as error:
        return f"its files are not as they should be: {error}"


def last_line(text: str) -> str:
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:") or ": error:" in line]
    return (errors or lines or [""])[-1][:300]
