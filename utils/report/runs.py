"""Reads a run's records: options, versions, training curves, and scores of every stage."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from utils.config.options import TrainOptions
from utils.error_bars import lines
from utils.errors import UserError
from utils.files.atomic import read_json
from utils.files.text import read_text
from utils.runs.label_judgement import LabelJudgement, read_label_judgement
from utils.runs.paths import RunPaths
from utils.runs.segmentation import result_dirs

# keys of a line in metrics.jsonl that are positions, not measurements
POSITION_KEYS = ("epoch", "step")
CAMS, LABELS, SEGMENTATION = "CAMs", "Pseudo labels", "Segmentation"


@dataclass(frozen=True)
class StageScores:
    """Scores in 0..1 of one stage, None for absent labels. class_iou: by class name."""

    stage: str
    detail: str
    images: int | None
    mean_iou: float | None
    class_iou: dict[str, float | None]
    others: dict[str, float | None]
    """pixel_accuracy, mean_accuracy, false_positive_rate, false_negative_rate."""
    interval: tuple[float, float] | None = None
    """Error bar of mean_iou, where few photos were scored."""
    of_all: str = ""
    """What a weighted sample of photos says of all, in words."""


@dataclass(frozen=True)
class RunRecord:
    """One run's records. Missing ones are empty, and `notes` state why."""

    name: str
    dataset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Recorded value -> (epoch, value)."""
    thresholds: list[tuple[float, float]] = field(default_factory=list)
    """(threshold, mIoU) of the CAMs, both in 0..1."""
    stages: list[StageScores] = field(default_factory=list)
    judgement: LabelJudgement | None = None
    """What is known of its labels without masks."""
    notes: list[str] = field(default_factory=list)


def read_runs(runs_dir: str | None, names: Sequence[str]) -> list[RunRecord]:
    """Read the records of the runs. Raises UserError naming missing ones."""
    paths = [RunPaths.of(runs_dir, name) for name in names]
    missing = [str(run.root) for run in paths if not run.root.is_dir()]
    if missing:
        raise UserError("no such run", ", ".join(missing), remedy="check --experiment_name, --compare and --runs_dir")
    return [read_run(run) for run in paths]


def read_run(paths: RunPaths) -> RunRecord:
    """Read one run's records. Raises UserError naming a file with unexpected content."""
    cams = _read_json(paths.cam_scores)
    labels = _read_json(paths.label_scores)
    name, notes = paths.root.name, []
    if not paths.metrics.is_file():
        notes.append("no training curves: the run has no metrics.jsonl")
    if cams is None:
        notes.append(f"no scores of its CAMs: run evaluate.py --experiment_name {name}")
    if labels is None:
        notes.append(f"no scores of its pseudo labels: run evaluate.py --experiment_name {name} --mode=png")
    try:
        stages = [*_cam_stage(cams), *_label_stage(labels), *_segmentation_stages(result_dirs("scores", name))]
        thresholds = [(row["threshold"], row["mean_iou"]) for row in (cams or {}).get("thresholds", [])]
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        remedy = f"run evaluate.py --experiment_name {name} again"
        raise UserError(f"its scores have no {error}", paths.root, remedy=remedy) from error
    return RunRecord(
        name=name,
        dataset=next((str(content["dataset"]) for content in (cams, labels) if content), ""),
        options=_read_options(paths.config),
        versions=_read_json(paths.versions) or {},
        curves=read_curves(paths.metrics),
        thresholds=[point for point in thresholds if point[1] is not None],
        stages=stages,
        judgement=read_label_judgement(paths.root),
        notes=notes,
    )


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read recorded value -> (epoch, value) from metrics.jsonl. Drops non-finite values; later lines win.

    Raises UserError naming file and line.
    """
    curves: dict[str, dict[float, float]] = {}
    for number, line in enumerate(read_text(path).splitlines() if path.is_file() else [], start=1):
        try:
            row = json.loads(line)
            values = {key: float(value) for key, value in row.items() if key not in POSITION_KEYS}
            for key, value in values.items():
                if math.isfinite(value):
                    curves.setdefault(key, {})[float(row["epoch"])] = value
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{line[:60]!r} is not a line written by train_l2g.py"
            raise UserError(what, f"{path}:{number}", remedy="remove the line from the file") from error
    return {key: sorted(points.items()) for key, points in curves.items()}


def changed_options(options: dict[str, Any]) -> set[str]:
    """Return the names of a run's options that differ from the defaults of train_l2g.py."""
    defaults = {f.name: list(f.default) if isinstance(f.default, tuple) else f.default for f in fields(TrainOptions)}
    return {name for name, value in options.items() if name not in defaults or value != defaults[name]}


def _cam_stage(cams: dict[str, Any] | None) -> list[StageScores]:
    if cams is None:
        return []
    best = next(row for row in cams["thresholds"] if row["threshold"] == cams["best_threshold"])
    detail = f"at the best threshold, {best['threshold']:g}"
    return [_stage(CAMS, detail, cams, best)]


def _label_stage(labels: dict[str, Any] | None) -> list[StageScores]:
    return [] if labels is None else [_stage(LABELS, str(Path(labels["pred_dir"]).name), labels, labels)]


def _segmentation_stages(folders: Sequence[Path]) -> list[StageScores]:
    """Read the scores of every training of the segmentation network, before and after the CRF."""
    files = ("scores.json", "scores_crf.json")
    found = [(folder, p) for folder in folders for p in sorted(folder.rglob("scores*.json")) if p.name in files]
    several = len({path.parent for _, path in found}) > 1
    stages = []
    for folder, path in found:
        content = _read_json(path) or {}
        training = path.parent.relative_to(folder).as_posix()
        if folder != folders[0]:  # trainings in different output folders may have the same name
            training = f"{folder.parents[1].name}/{training}".removesuffix("/.")
        name = SEGMENTATION + (f" {training}" if several else "") + (" + CRF" if path.stem.endswith("_crf") else "")
        stages.append(_stage(name, "" if training == "." else training, content, content))
    return stages


def _stage(stage: str, detail: str, facts: dict[str, Any], scores: dict[str, Any]) -> StageScores:
    others = ("pixel_accuracy", "mean_accuracy", "false_positive_rate", "false_negative_rate")
    return StageScores(
        stage,
        detail,
        facts.get("images"),
        scores["mean_iou"],
        dict(scores["class_iou"]),
        {key: scores.get(key) for key in others},
        interval=_interval(facts),
        of_all=" ".join(list(lines(facts))[1:]),
    )


def _interval(facts: dict[str, Any]) -> tuple[float, float] | None:
    low_high = facts.get("error_bars", {}).get("mean_iou")
    return tuple(low_high) if low_high else None


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(
            "does not contain a JSON object", path, remedy="remove it and run the command that wrote it again"
        )
    return content


def _read_options(path: Path) -> dict[str, Any]:
    """Read the options as written: a run of an earlier version may have options that no longer exist."""
    try:
        content = yaml.safe_load(read_text(path)) if path.is_file() else {}
    except yaml.YAMLError as error:
        raise UserError(f"is not YAML ({error})", path) from error
    if not isinstance(content, dict):
        raise UserError("contains no options", path, "expected YAML, `name: value`")
    return content
