"""The main function of every program: parse the options, import the code, run it, and report errors."""

import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from utils.config.parser import Parsed, parse_command_line
from utils.errors import UserError
from utils.files.disk import refusal
from utils.runtime.streams import lasting_streams

INTERRUPTED, TERMINATED = 130, 143  # exit statuses of shells: 128 + signal number
ENDED_BY: dict[int, str] = {
    signal.SIGINT: "interrupted: run the same command again to continue (training: with --resume)",
    signal.SIGTERM: "ended by SIGTERM: run the same command again to continue (training: with --resume)",
}
# seconds after which worker processes that have not ended are killed
PATIENCE = 1.5


def main(
    options_class: type,
    run: str | Callable[[Any], Any],
    *,
    argv: Sequence[str] | None = None,
    search_dirs: Sequence[Path] = (),
    command: str = "",
) -> NoReturn:
    """Parse argv into options_class, call run(options) and exit with status 0, 1 for an error, or 2 for bad options.

    run: a function, or `MODULE` (its function run) or `MODULE:FUNCTION`, imported after the options are parsed so that
    --help and mistyped options do not wait for torch. command: the step, such as `train` of `main.py train`. A
    UserError is printed as one line. Every other exception keeps its traceback and asks for a bug report. --debug
    prints all tracebacks. Worker processes are ended in any case.
    """
    with lasting_streams(), _handled_by(_raise_terminated, signal.SIGTERM):
        status = _status(
            partial(parse_command_line, options_class, argv, search_dirs=search_dirs, command=command), run
        )
    sys.exit(status)


class Terminated(BaseException):
    """SIGTERM was received: the machine shuts down or the job is cancelled."""


@contextmanager
def _handled_by(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Call the handler for these signals within the block. Only for the main thread: in others nothing changes."""
    try:
        before = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # only the main thread may set signal handlers
        yield
        return
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _raise_terminated(_number: int, _frame: object) -> None:
    """Let the program end as it does after Ctrl-C."""
    raise Terminated


def _end_at_once(number: int, _frame: object) -> None:
    """End the process without raising: libraries that are being imported catch or convert what is raised."""
    print(ENDED_BY[number], file=sys.stderr, flush=True)
    os._exit(128 + number)


def _status(parse: Callable[[], Parsed], run: str | Callable[[Any], Any]) -> int | str | None:
    """Parse and run. Returns the program's exit status."""
    status: int | str | None = 1
    parsed = Parsed(None)
    try:
        parsed = parse()
        _function(run)(parsed.options)
        status = 0
    except SystemExit as request:
        status = request.code
    except KeyboardInterrupt:
        _show(ENDED_BY[signal.SIGINT], debug=parsed.debug)
        status = INTERRUPTED
    except Terminated:
        _show(ENDED_BY[signal.SIGTERM], debug=parsed.debug)
        status = TERMINATED
    except UserError as error:
        _show(f"error: {error}", debug=parsed.debug)
    except Exception as error:
        # whether a file is there cannot be asked in a folder that may not be entered, wherever that is asked
        if isinstance(error, PermissionError) and error.filename:
            _show(f"error: {refusal(error, Path(error.filename), 'read')}", debug=parsed.debug)
            return status
        traceback.print_exc()
        print(f"error: this is a bug: please report it with {_versions(parsed.options)}", file=sys.stderr)
    finally:
        end_workers()
    return status


def _function(run: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if callable(run):
        return run
    module, _, name = run.partition(":")
    with _handled_by(_end_at_once, *ENDED_BY):
        imported = importlib.import_module(module)
    return getattr(imported, name or "run")


def _show(line: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(line, file=sys.stderr)


def _versions(options: Any) -> str:
    """Return what a bug report needs: the traceback and the run's versions.json, if it exists."""
    path = getattr(options, "versions_file", None)
    with suppress(OSError):
        if path is not None and path.is_file():
            return f"the traceback and {path}"
    return "the traceback and the output of `python3 -m pip freeze`"


def end_workers() -> None:
    """End all worker processes, including those that ignore signals, because the interpreter's exit waits for them."""
    workers = multiprocessing.active_children()
    if not workers:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise for every worker that ends
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join(1.0)
