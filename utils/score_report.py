"""Scores for people and files: JSON with class names, tables on the screen."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.metrics import Scores
from utils.paths import atomic_path


def scores_as_json(scores: Scores, classes: Sequence[str]) -> dict[str, Any]:
    """Scores with class names, `classes` without background; null is what masks and predictions do not hold."""
    plain = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in vars(scores).items()}
    names = ("background", *classes)
    plain["class_iou"] = {n: None if math.isnan(v) else v for n, v in zip(names, scores.class_iou)}
    return plain


def print_class_iou(scores: Scores, classes: Sequence[str]) -> None:
    """A line a class, background first."""
    for name, iou in zip(("background", *classes), scores.class_iou):
        print(f"  {name:<16} {'absent' if math.isnan(iou) else f'{iou:.3%}'}")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole, and says so."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    print(f"written: {path}", file=sys.stderr)
