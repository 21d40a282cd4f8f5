"""What some published flags mean in the light of the other options: the functions that the table names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT, run_dir

COCO_OPTIMISER = PROJECT_ROOT / "configs" / "coco14_published_optimiser.yaml"


@dataclass
class Command:
    """A command line whose options are parsed: their values, which of them it gives itself, and lines to show."""

    values: dict[str, Any]
    given: set[str]
    lines: list[str] = field(default_factory=list)

    def set(self, name: str, value: Any) -> None:
        """Gives an option its value, unless the command line does."""
        if name not in self.given:
            self.values[name] = value

    @property
    def dataset_of_run(self) -> str | None:
        """The dataset that the run was trained on; None where there is no run."""
        config = run_dir(self.values["runs_dir"], self.values["experiment_name"]) / "config.yaml"
        if not config.is_file():
            return None
        return yaml.safe_load(config.read_text(encoding="utf-8")).get("dataset")


def poly_optimizer(command: Command, _value: str) -> None:
    """COCO: poly with the published optimiser as it really ran. VOC: the learning rate stays constant."""
    if _open(command.values["dataset"]).name != "coco14":
        command.set("decay_epochs", ())
        return
    command.set("schedule", "poly")
    for name, value in yaml.safe_load(COCO_OPTIMISER.read_text(encoding="utf-8")).items():
        command.set(name, value)


def num_classes(command: Command, value: str) -> None:
    """Accepts the dataset's number of classes alone; where no dataset is known yet, it has no effect."""
    name = command.values["dataset"] or command.dataset_of_run
    if name is not None:
        found = len(_open(name).classes)
        if value != str(found):
            raise UserError(value, "--num_classes", f"{name} has {found} classes", "omit it, or check --dataset")
    command.lines.append("--num_classes has no effect here: the dataset has its classes")


def coco_preset(command: Command, value: str) -> None:
    """The published COCO program has other defaults: they are a preset here."""
    if value == "mscoco" and "config" not in command.given:
        command.lines.append("--dataset=mscoco: the numbers of the published COCO run are --config=configs/coco14.yaml")


def dataset_of_run(command: Command, value: str) -> None:
    """The published VOC script labels with --dataset=mscoco: the run knows its dataset."""
    from utils.data.catalog import DATASET_ALIASES

    own = command.dataset_of_run
    if value not in DATASET_ALIASES or own is None:
        return
    if _open(own).root.resolve() != _open(value).root.resolve():
        command.values["dataset"] = None
        run = command.values["experiment_name"]
        command.lines.append(f"--dataset={value} has no effect here: {run} was trained on {own}")


def highest_threshold(command: Command, value: str) -> None:
    """Ends the sweep there."""
    try:
        end = float(value)
    except ValueError as error:
        raise UserError(repr(value), "--max_th", "expected a number") from error
    command.set("thresholds", tuple(t for t in command.values["thresholds"] if t <= end))


def _open(dataset: str) -> Any:
    from utils.data.dataset import open_dataset  # here: the other command lines need no numpy

    return open_dataset(dataset)


FUNCTIONS: dict[str, Callable[[Command, str], None]] = {
    function.__name__: function
    for function in (poly_optimizer, num_classes, coco_preset, dataset_of_run, highest_threshold)
}
