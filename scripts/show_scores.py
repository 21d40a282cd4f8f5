"""Print the scores of one or more runs side by side, as stored by evaluate.py and deeplabv2."""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.score import ShowOptions
    from utils.config.program import main

    main(ShowOptions, "scripts.show_scores")

from collections.abc import Sequence

import yaml

from utils.config.options.score import ShowOptions
from utils.errors import UserError
from utils.files.atomic import read_json
from utils.files.locate import existing_path
from utils.metrics import ABSENT_CLASSES
from utils.runs.paths import RunPaths
from utils.runs.segmentation import result_dirs

MARK = "!"
COLUMNS = ("CAM mIoU", "threshold", "label mIoU", "network", "network + CRF")


def run(options: ShowOptions) -> Path:
    """Print a line per run. Raises UserError with the remedy if a run has no scores."""
    titles = options.titles or options.experiments
    if len(titles) != len(options.experiments):
        raise UserError(
            str(len(titles)), "--titles", f"expected one for each of {len(options.experiments)} experiments"
        )
    ranges = _read_ranges(options.expected)
    header = ["run", *COLUMNS, *(["classes"] if options.classes else [])]
    table = [header]
    for name, title in zip(options.experiments, titles, strict=True):
        found = dict(zip(header[1:], _row(options, name), strict=True))
        expected = {column: limits for column, limits in ranges.get(title, {}).items() if found.get(column, "-") != "-"}
        table.append([title, *(_marked(figure, expected.get(column)) for column, figure in found.items())])
        if expected:
            table.append(["  expected", *(_range(expected.get(column)) for column in found)])
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        first, *others = row
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    if any(cell.endswith(MARK) for row in table for cell in row):
        print(f"{MARK} outside the expected range")
    print(f"mIoU: {ABSENT_CLASSES}", file=sys.stderr)
    return RunPaths.of(options.runs_dir, options.experiments[0]).root.parent


def _read_ranges(path: str | None) -> dict[str, dict[str, list[float]]]:
    """Read title -> column -> [low, high] in per cent."""
    if path is None:
        return {}
    return yaml.safe_load(existing_path(path, "--expected").read_text()) or {}


def _marked(cell: str, expected: list[float] | None) -> str:
    """Return the cell, marked if its value is outside the expected range."""
    if expected is None:
        return cell
    low, high = expected
    return cell if low <= float(cell.removesuffix(" %")) <= high else f"{cell} {MARK}"


def _range(expected: list[float] | None) -> str:
    return f"{expected[0]:g} to {expected[1]:g}" if expected else ""


def _row(options: ShowOptions, name: str) -> list[str]:
    """Return the cells of one run, in the order of COLUMNS."""
    paths = RunPaths.of(options.runs_dir, name)
    folders = [Path(options.segmentation_dir) / name] if options.segmentation_dir else result_dirs("scores", name)
    found = [_first_file(folders, file) for file in ("scores.json", "scores_crf.json")]
    files = (paths.cam_scores, paths.label_scores, *found)
    cams, *others = (read_json(path) if path and path.is_file() else None for path in files)
    if cams is None and others[1] is None:
        raise UserError("is missing", paths.cam_scores, remedy=f"run evaluate.py --experiment_name {name} first")
    row = ["-", "-"] if cams is None else [_percent(cams["best_mean_iou"]), f"{cams['best_threshold']:.2f}"]
    row += [_percent(scores["mean_iou"]) if scores else "-" for scores in others]
    if options.classes:
        row.append("-" if cams is None else _mean_of_classes(cams, options.classes))
    return row


def _first_file(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _mean_of_classes(cams: dict, classes: tuple[str, ...]) -> str:
    best = next(t for t in cams["thresholds"] if t["threshold"] == cams["best_threshold"])
    unknown = set(classes) - set(best["class_iou"])
    if unknown:
        raise UserError(", ".join(sorted(unknown)), "--classes", f"expected some of {', '.join(best['class_iou'])}")
    found = [best["class_iou"][c] for c in classes if best["class_iou"][c] is not None]
    return _percent(sum(found) / len(found)) if found else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
