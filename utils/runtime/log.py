"""The log of a run, on the screen and in its file."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from utils.files.disk import disk_errors, make_folder


class _LastingFile(logging.FileHandler):
    """A log file that may go away: its errors are reported once, and the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        print(f"{self.baseFilename}: cannot be written: {sys.exc_info()[1]}: the run continues", file=sys.stderr)
        self.setLevel(logging.CRITICAL + 1)


class _TqdmHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def open_log(path: Path | None) -> logging.Logger:
    """The run's log: on the screen above the bar and appended to `path`; mute for None (not the main process)."""
    log = logging.getLogger("l2g")
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO if path else logging.CRITICAL)
    if path:
        make_folder(path.parent)
        with disk_errors(path, "written"):
            file = _LastingFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(file)
        log.addHandler(_TqdmHandler())
    return log
