"""Output streams that outlive their terminal: a closed pipe, a full disk or a lost connection stops no run."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class _Lasting:
    """A text stream whose errors end its output and nothing else; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._drop()
            return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._drop()

    def _drop(self) -> None:
        """From now on into the void, what waits in the buffer too: the interpreter's exit flushes it once more."""
        with suppress(OSError, ValueError):
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, self._stream.fileno())
            os.close(void)
            self._stream.flush()


def open_missing() -> None:
    """Opens the standard descriptors that are closed: a file that is opened next would get their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within it, nothing that happens to the terminal, pipe or file behind stdout and stderr ends the program.

    Text outside the stream's encoding is written escaped. A hangup, of a closed terminal or connection, is ignored.
    """
    open_missing()
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
        if hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _Lasting(stream))
    hangup = _ignore_hangup()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
        if hangup is not None:
            signal.signal(signal.SIGHUP, hangup)


def _ignore_hangup() -> Any:
    """The handler before; None where there is no such signal, or this is not the main thread."""
    with suppress(AttributeError, ValueError):
        return signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return None
