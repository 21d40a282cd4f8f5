"""The log of a run, on screen and in a file."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from utils.files.disk import disk_errors, make_folder


class _LastingFile(logging.FileHandler):
    """A log file whose errors are reported once and do not stop the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        print(
            f"{self.baseFilename}: cannot be written: {sys.exc_info()[1]}: the run continues without it",
            file=sys.stderr,
        )
        self.setLevel(logging.CRITICAL + 1)


class _TqdmHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def open_log(path: Path | None) -> logging.Logger:
    """Open the run's log: on screen above the progress bar, and appended to `path`. Silent if None (other ranks)."""
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
