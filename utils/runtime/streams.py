"""Output streams whose errors do not stop a run: closed pipe, full disk, lost connection."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class _Lasting:
    """Wraps a text stream. An error ends its output but not the program; all other attributes are the stream's."""

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
        """Discard all further output, including the buffer, which is flushed again when the interpreter exits."""
        with suppress(OSError, ValueError):
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, self._stream.fileno())
            os.close(void)
            self._stream.flush()


def open_missing() -> None:
    """Open closed standard descriptors on /dev/null, so that the next opened file does not get their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # returns the lowest free descriptor: this one


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Keep the program running if the terminal, pipe or file behind stdout or stderr fails.

    Characters outside the stream's encoding are escaped. SIGHUP of a closed terminal or connection is ignored.
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
    """Ignore SIGHUP. Returns the previous handler, or None without this signal or outside the main thread."""
    with suppress(AttributeError, ValueError):
        return signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return None
