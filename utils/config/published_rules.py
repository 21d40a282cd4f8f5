"""Published flags whose effect depends on other options: the functions named in the table of flags."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT, run_dir

COCO_OPTIMISER = PROJECT_ROOT / "configs" / "coco14_published_optimiser.yaml"


@dataclass
class Command:
    """A parsed command line: the values, which options were given explicitly, and lines to print."""

    values: dict[str, Any]
    given: set[str]
    lines: list[str] = field(default_factory=list)

    def set(self, name: str, value: Any) -> None:
        """Set an option unless the command line gives it."""
        if name not in self.given:
            self.values[name] = value

    @property
    def dataset_of_run(self) -> str | None:
        """Return the dataset that the run was trained on, or None if there is no run."""
        config = run_dir(self.values["runs_dir"], self.values["experiment_name"]) / "config.yaml"
        if not config.is_file():
            return None
        return yaml.safe_load(config.read_text(encoding="utf-8")).get("dataset")


def poly_optimizer(command: Command, _value: str) -> None:
    """COCO: poly schedule and the optimiser settings that were really in effect. VOC: constant learning rate."""
    if _open(command.values["dataset"]).name != "coco14":
        command.set("decay_epochs", ())
        return
    command.set("schedule", "poly")
    for name, value in yaml.safe_load(COCO_OPTIMISER.read_text(encoding="utf-8")).items():
        command.set(name, value)


def num_classes(command: Command, value: str) -> None:
    """Accept only the dataset's number of classes. Without a known dataset the flag has no effect."""
    name = command.values["dataset"] or command.dataset_of_run
    if name is not None:
        found = len(_open(name).classes)
        if value != str(found):
            raise UserError(value, "--num_classes", f"{name} has {found} classes", "omit it, or check --dataset")
    command.lines.append("--num_classes has no effect here: the dataset has its classes")


def coco_preset(command: Command, value: str) -> None:
    """Point to the preset with the defaults of the published COCO program."""
    if value == "mscoco" and "config" not in command.given:
        command.lines.append("--dataset=mscoco: the settings of the published COCO run are in configs/coco14.yaml")


def dataset_of_run(command: Command, value: str) -> None:
    """Use the run's dataset: the published VOC script creates labels with --dataset=mscoco."""
    from utils.data.catalog import DATASET_ALIASES

    own = command.dataset_of_run
    if value not in DATASET_ALIASES or own is None:
        return
    if _open(own).root.resolve() != _open(value).root.resolve():
        command.values["dataset"] = None
        run = command.values["experiment_name"]
        command.lines.append(f"--dataset={value} has no effect here: {run} was trained on {own}")


def highest_threshold(command: Command, value: str) -> None:
    """Drop thresholds above the value."""
    try:
        end = float(value)
    except ValueError as error:
        raise UserError(repr(value), "--max_th", "expected a number") from error
    command.set("thresholds", tuple(t for t in command.values["thresholds"] if t <= end))


def _open(dataset: str) -> Any:
    from utils.data.dataset import open_dataset  # not at the top: most command lines do not need numpy

    return open_dataset(dataset)


FUNCTIONS: dict[str, Callable[[Command, str], None]] = {
    function.__name__: function
    for function in (poly_optimizer, num_classes, coco_preset, dataset_of_run, highest_threshold)
}
