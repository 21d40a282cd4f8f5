"""Print the scores of one or more runs side by side: what evaluate.py has stored in them."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only

from utils.cli import main
from utils.paths import RunPaths


@dataclass(frozen=True)
class ShowOptions:
    """Print the scores of runs side by side."""

    experiments: tuple[str, ...] = ("l2g_voc",)
    """Names of the runs."""
    runs_dir: str | None = None
    """Where runs are kept; default runs/ in the project."""
    classes: tuple[str, ...] = ()
    """Classes whose mean IoU of the CAMs is shown as well."""


def run(options: ShowOptions) -> Path:
    """Prints a line a run. Raises FileNotFoundError with the remedy where a run has no scores."""
    rows = [_row(RunPaths.of(options.runs_dir, name), name, options.classes) for name in options.experiments]
    width = max(10, *(len(row[0]) for row in rows))
    header = ["run".ljust(width), "CAM mIoU", "threshold", "label mIoU"] + (["classes"] if options.classes else [])
    print("  ".join(header))
    for name, *values in rows:
        cells = [value.rjust(len(title)) for value, title in zip(values, header[1:])]
        print("  ".join([name.ljust(width), *cells]))
    return RunPaths.of(options.runs_dir, options.experiments[0]).root.parent


def _row(paths: RunPaths, name: str, classes: tuple[str, ...]) -> list[str]:
    if not paths.cam_scores.is_file():
        raise FileNotFoundError(f"{paths.cam_scores} is missing: run evaluate.py --experiment_name {name} first")
    cams = json.loads(paths.cam_scores.read_text())
    labels = json.loads(paths.label_scores.read_text()) if paths.label_scores.is_file() else None
    row = [name, _percent(cams["best_mean_iou"]), f"{cams['best_threshold']:.2f}"]
    row.append(_percent(labels["mean_iou"]) if labels else "-")
    if classes:
        best = next(t for t in cams["thresholds"] if t["threshold"] == cams["best_threshold"])
        unknown = set(classes) - set(best["class_iou"])
        if unknown:
            raise ValueError(f"--classes: {sorted(unknown)} are not among {', '.join(best['class_iou'])}")
        found = [best["class_iou"][c] for c in classes if best["class_iou"][c] is not None]
        row.append(_percent(sum(found) / len(found)) if found else "-")
    return row


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main(ShowOptions, run)
