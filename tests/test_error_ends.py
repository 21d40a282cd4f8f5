"""How programs end: one line for mistakes of the user, a traceback and a request for a bug report for bugs."""

import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.small_run import make_small_run
from tests.small_segmentation import make_segmentation_data, small_flags
from utils.data.images import write_image
from utils.files.locate import PROJECT_ROOT


@dataclass(frozen=True)
class Program:
    """A program with its arguments, its inputs, a picture it reads, and a function that one of its steps calls."""

    words: Sequence[str]
    needed: Path
    picture: Path
    step: str


def entry_point(folder: Path) -> Program:
    flags = [f"--{name}={value}" for name, value in make_small_run(folder).items()]
    masks = folder / "toy" / "SegmentationClass"
    flags += ["--mode=png", f"--pred_dir={masks}", "--num_workers=1"]
    return Program(["evaluate.py", *flags], masks / "a.png", masks / "b.png", "utils.data.images.read_label")


def script(folder: Path) -> Program:
    photos = folder / "photos"
    for name in ("a", "b"):
        write_image(photos / "cat" / f"{name}.png", np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8))
    words = ["scripts/prepare_own.py", f"--images={photos}", f"--out={folder / 'mine'}", "--num_workers=1"]
    return Program(words, photos, photos / "cat" / "b.png", "utils.data.check.inspect_photo")


def segmentation(folder: Path) -> Program:
    data = make_segmentation_data(folder)
    words = ["deeplabv2/main.py", "train", *small_flags(data)]
    return Program(words, data, folder / "labels" / "t1.png", "utils.data.label_check.is_bordered")


def run(words: Sequence[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """Run a program in this process. Returns its status and its lines on stderr."""
    monkeypatch.chdir(PROJECT_ROOT)
    monkeypatch.setattr(sys, "argv", list(words))
    monkeypatch.setattr(sys, "path", [*sys.path])
    # a program imports its step after parsing its options, and gets the broken function
    for name in ("scripts.score_cams", "scripts.prepare_own", "deeplabv2.train"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(words[0], run_name="__main__")
    return ended.value.code, capsys.readouterr().err.splitlines()


@pytest.fixture(params=[entry_point, script, segmentation], ids=lambda kind: kind.__name__)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    kind: Callable[[Path], Program] = request.param
    return kind(tmp_path)


def lines_of_error(lines: Sequence[str]) -> list[str]:
    """Return the lines from the error on, without progress bars."""
    assert not any(line.startswith("Traceback") for line in lines)
    return list(lines[next(number for number, line in enumerate(lines) if line.startswith("error: ")) :])


def test_a_mistyped_option_is_named(program, capsys, monkeypatch):
    status, lines = run([*program.words, "--no_such=1"], capsys, monkeypatch)
    assert status == 2 and "no_such" in lines[0] and not any(line.startswith("Traceback") for line in lines)


def test_what_is_missing_is_named_in_one_line(program, capsys, monkeypatch):
    program.needed.rename(program.needed.with_name("elsewhere"))
    status, lines = run(program.words, capsys, monkeypatch)
    (line,) = lines_of_error(lines)
    assert status == 1 and program.needed.name in line


def test_a_truncated_picture_is_named_in_one_line(program, capsys, monkeypatch):
    program.picture.write_bytes(program.picture.read_bytes()[:-30])
    status, lines = run(program.words, capsys, monkeypatch)
    assert status == 1 and str(program.picture) in "".join(lines_of_error(lines))


def test_a_folder_that_may_not_be_entered_is_named_in_one_line(program, capsys, monkeypatch):
    def ask(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied", "/closed/a.png")  # as Path.is_file and Path.glob do

    monkeypatch.setattr(program.step, ask)
    status, lines = run(program.words, capsys, monkeypatch)
    (line,) = lines_of_error(lines)
    assert status == 1 and "/closed/a.png" in line and "permission" in line


def test_a_broken_call_of_numpy_shows_its_traceback_and_asks_for_a_report(program, capsys, monkeypatch):
    monkeypatch.setattr(program.step, lambda *_, **__: np.zeros(3).reshape(7))
    status, lines = run(program.words, capsys, monkeypatch)
    assert status == 1
    assert any(line.startswith("Traceback") for line in lines)
    assert any(line.startswith("ValueError: ") for line in lines)
    assert "report" in lines[-1] and not any(line.startswith("error: cannot reshape") for line in lines)
