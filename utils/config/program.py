"""The body of every program: parse the options, import the work, run it, and end with one line or a traceback."""

import importlib
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from utils.config.parser import Parsed, parse_command_line
from utils.errors import UserError
from utils.runtime.streams import lasting_streams

INTERRUPTED, TERMINATED = 130, 143  # as shells count them
# seconds for the worker processes to end by themselves, before they are killed
PATIENCE = 1.5


def main(
    options_class: type,
    run: str | Callable[[Any], Any],
    *,
    argv: Sequence[str] | None = None,
    places: Sequence[Path] = (),
    command: str = "",
) -> NoReturn:
    """Parses argv into options_class, calls run(options) and exits: status 0, 1 for an error, 2 for bad options.

    run: a function, or `MODULE` (its function run) or `MODULE:FUNCTION`, which is imported after the options are
    parsed: --help and a mistyped option need neither torch nor numpy. command: `train` of `main.py train`. A
    UserError is one line. Every other exception keeps its traceback and asks for a report. --debug shows all
    tracebacks. Whatever happens, the workers end.
    """
    with lasting_streams(), _ended_by_sigterm():
        status = _status(partial(parse_command_line, options_class, argv, places=places, command=command), run)
    sys.exit(status)


class Terminated(BaseException):
    """SIGTERM: whoever ends the machine or the job wants the program to end."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Within it, SIGTERM raises Terminated, so that the program ends as it does for Ctrl-C."""

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # only the main thread may ask for signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(parse: Callable[[], Parsed], run: str | Callable[[Any], Any]) -> int | str | None:
    """Parses and runs -> the program's exit status."""
    status: int | str | None = 1
    parsed = Parsed(None)
    try:
        parsed = parse()
        _function(run)(parsed.options)
        status = 0
    except SystemExit as request:
        status = request.code
    except KeyboardInterrupt:
        _show("interrupted: run the same command again to continue (training: with --resume)", debug=parsed.debug)
        status = INTERRUPTED
    except Terminated:
        _show("ended by SIGTERM: run the same command again to continue (training: with --resume)", debug=parsed.debug)
        status = TERMINATED
    except UserError as error:
        _show(f"error: {error}", debug=parsed.debug)
    except Exception:
        traceback.print_exc()
        print(f"error: this is a bug: please report it with {_versions(parsed.options)}", file=sys.stderr)
    finally:
        end_workers()
    return status


def _function(run: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if callable(run):
        return run
    module, _, name = run.partition(":")
    return getattr(importlib.import_module(module), name or "run")


def _show(line: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(line, file=sys.stderr)


def _versions(options: Any) -> str:
    """What a report of a bug needs beside the traceback: the run's versions.json, where there is one."""
    path = getattr(options, "versions_file", None)
    if path is not None and path.is_file():
        return f"the traceback and {path}"
    return "the traceback and the output of `python3 -m pip freeze`"


def end_workers() -> None:
    """Ends the worker processes of this process, those too that ignore signals: exiting would wait for them."""
    workers = multiprocessing.active_children()
    if not workers:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise for each worker that ends
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join(1.0)
