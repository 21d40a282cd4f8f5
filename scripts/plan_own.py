"""Print the remaining steps of train_test_L2G_own.sh, and estimate their duration from the finished ones."""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.own import PlanOptions
    from utils.config.program import main

    main(PlanOptions, "scripts.plan_own")

import json
from collections.abc import Mapping
from dataclasses import dataclass

from utils.config.options.own import PlanOptions
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.files.atomic import append_line
from utils.files.disk import disk_errors

LEAST = 5.0  # seconds; shorter steps are no measure of the machine's speed
START = 4.0  # seconds that a step takes to start and to read its lists, for any number of photos


@dataclass(frozen=True)
class Step:
    """A step's description, and its seconds per photo (per epoch for trainings) on the reference machine."""

    text: str
    seconds: float
    per: str = "images"


# measured on one core with configs/voc_light.yaml and photographs of 500 x 375; only the ratios matter
STEPS = {
    "prepare": Step("read the photos and the tag table", 0.02),
    "check": Step("check the dataset", 0.01),
    "saliency": Step("compute saliency maps (U2-Net)", 0.65),
    "train": Step("train the classifiers (L2G)", 0.11, "epochs"),
    "cams": Step("compute class activation maps", 0.35),
    "linear": Step("fit a linear classifier and average all maps", 0.25),
    "threshold": Step("choose the threshold and judge the maps", 0.05),
    "labels": Step("create pseudo labels", 0.05),
    "segmentation": Step("train the segmentation network", 0.11, "segmentation_epochs"),
    "second": Step("relabel the tagged photos with the network and their tags", 0.3),
    "masks": Step("label all photos", 0.25, "photos"),
    "judge": Step("compare the labels with tags, saliency and the network", 0.05),
    "report": Step("draw pictures and write the report", 0.3),
}
# preset of QUALITY -> how many times these seconds a step takes, where it is not once. Computed from the numbers of
# classifiers, pixels and views and the size of the network (1.25: a prototype's training), not measured
WORK = {
    "fast": {"cams": 0.3, "second": 0.3},
    "balanced": {"train": 3.0, "cams": 3.0},
    "best": {"train": 3.0, "cams": 3.0, "segmentation": 1.25, "second": 1.25, "masks": 1.75},
    "large": {"train": 3.0, "cams": 3.0, "segmentation": 4.0, "second": 4.0, "masks": 4.0},
}


def run(options: PlanOptions) -> float:
    """Print the plan and return the estimated seconds of the remaining steps; 0 before anything is measured."""
    record = Path(options.record).absolute()
    if options.done is not None and options.seconds >= LEAST:
        append_line(record, json.dumps({"step": options.done, "seconds": options.seconds}))
    sizes = _sizes(options)
    measured = _measured(record)
    work = WORK[options.preset]
    factor = _factor(measured, sizes, work)
    total = 0.0
    for number, name in enumerate(options.steps, 1):
        expected = _expected(name, sizes, work) * factor
        total += expected
        print(f"  {number:2d}. {STEPS[name].text}" + (f": about {duration(expected)}" if factor else ""))
    if factor and options.steps:
        print(f"  about {duration(total)} remaining")
    return total


def _sizes(options: PlanOptions) -> dict[str, float]:
    """Return the number of photos that each kind of step processes."""
    images = 0
    if Path(options.dataset, "train_cls.txt").is_file():
        data = open_dataset(options.dataset)
        images = len(read_image_list(data.train_list, len(data.classes)))
    return {
        "images": images,
        "epochs": images * options.epochs,
        "segmentation_epochs": images * options.segmentation_epochs,
        "photos": options.photos or images,
    }


def _measured(record: Path) -> dict[str, float]:
    """Return the longest duration of each step in the record, since repeated runs only find existing files."""
    longest: dict[str, float] = {}
    if not record.is_file():
        return longest
    with disk_errors(record):
        lines = record.read_text(encoding="utf-8").splitlines()
    for line in lines:
        try:
            entry = json.loads(line)
            longest[entry["step"]] = max(longest.get(entry["step"], 0.0), float(entry["seconds"]))
        except (ValueError, KeyError, TypeError):  # partial line of a killed run
            continue
    return longest


def _expected(name: str, sizes: Mapping[str, float], work: Mapping[str, float]) -> float:
    """Return the seconds of a step on the reference machine of STEPS. work: factors on the seconds, default 1."""
    step = STEPS[name]
    return START + sizes[step.per] * step.seconds * work.get(name, 1.0)


def _factor(measured: Mapping[str, float], sizes: Mapping[str, float], work: Mapping[str, float]) -> float:
    """Return how much slower this machine is than the reference machine; 0 before anything is measured."""
    expected = {name: _expected(name, sizes, work) for name in measured if name in STEPS}
    total = sum(expected.values())
    return sum(measured[name] for name in expected) / total if total else 0.0


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
