"""Kills every stage at random moments: running it again must end in identical bytes."""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np

from tests.stress.case import end_session, run, start
from tests.stress.table_segmentation import CLASS_MAPS
from tests.stress.table_tools import EXPORT, IMPORT, LABEL, SEGMENTS, steps
from tests.stress.worlds import CAMS, LABELS, PREPARE, SCORE, TRAIN, Worlds, segment

# stage -> world, and the commands that run, and run again after a kill
LONGER = [*TRAIN, "--epochs=3", "--resume"]  # checkpoints contain the options that a run started with
STAGES = {
    "train": ("toy", [*LONGER, "--save_minutes=0"]),
    "train, two workers": ("toy", [*LONGER, "--num_workers=2"]),
    "cams": ("run", [*CAMS, "--scales=0.5,1", "--update", "--save_attention"]),
    "scores": ("run", SCORE),
    "labels": ("run", [*LABELS, "--threshold=0.3", "--crf"]),
    "prepare": ("photos", [*PREPARE, "--copy"]),
    "segmentation train": ("segmentation", segment("train", "--SOLVER.SAVE_MINUTES=0", "--SOLVER.RESUME=true")),
    "segmentation test": ("tested", "rm -rf out/features; " + segment("test", "--num_workers=1")),
    "segmentation crf": ("tested", segment("crf", "--num_workers=1")),
    "class maps": ("tested", f"printf 't0 0\\nt1 1\\nt5 0 1\\n' > toy/train_cls.txt; {CLASS_MAPS}"),
    "predict": ("tested", segment("predict", "--image_dir=toy/JPEGImages", "--out=o", "--crf", "--num_workers=1")),
    "export": ("tested", segment("export", "--out=net.onnx")),
    "segments": ("run", SEGMENTS),
    "export and import": ("run", steps(LABEL, EXPORT, [*IMPORT, "--labels=ex/instances.json", "--others=labels"])),
}  # fmt: skip
# files that contain times, speeds, or the machine
CHANGING = ("log.txt", "metrics.jsonl", "versions.json", "scores.json", "names.csv")


def results_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    kept = (path for path in files if path.name not in CHANGING and "tensorboard" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def run_kills(
    worlds: Worlds, folder: Path, *, count: int, seed: int, only: str
) -> list[tuple[str, str, str | None, float, str]]:
    """Kill each stage `count` times. Returns a row per stage."""
    rows = []
    for stage, (world, words) in STAGES.items():
        if count and only in f"kill {stage}":
            begun = time.monotonic()
            wrong = _kill(worlds, folder / "kill", world, words, count, [seed, *stage.encode()])
            shutil.rmtree(folder / "kill", ignore_errors=True)
            name = f"kill {stage}, {count} times at random moments"
            rows.append((name, "the same bytes", wrong, time.monotonic() - begun, ""))
            print(f"{'ok  ' if wrong is None else 'FAIL'} {rows[-1][3]:5.1f} s  {name} {wrong or ''}", flush=True)
    return rows


def _kill(worlds: Worlds, folder: Path, world: str, words, count: int, seed: list[int]) -> str | None:
    output = folder.with_name("kill.txt")
    worlds.copy(world, folder)
    whole_run = run(words, folder, output)
    if whole_run.status != 0:
        return f"the whole run ended with {whole_run.status}"
    whole = results_below(folder)
    faults = []
    for moment in np.random.default_rng(seed).random(count):
        shutil.rmtree(folder)
        worlds.copy(world, folder)
        child = start(words, folder, output)
        time.sleep(moment * whole_run.seconds)
        _kill_main(child)
        time.sleep(0.5)
        ended = run(words, folder, output)
        if ended.status != 0:
            faults.append(f"status {ended.status} after a kill at {moment:.3f}")
        elif (found := results_below(folder)) != whole:
            differing = [name for name in {*found, *whole} if found.get(name) != whole.get(name)]
            faults.append(f"other bytes after a kill at {moment:.3f}: {differing[:3]}")
    return "; ".join(faults) or None


def _kill_main(child: int) -> None:
    """Send SIGKILL only to the program, like the kernel when memory runs out; its workers must end by themselves."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    time.sleep(1.0)
    end_session(child)
