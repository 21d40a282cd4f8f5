"""Inputs of the steps after training: the run's dataset and lists, and checks that their files exist."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from utils.config.options import TrainOptions
from utils.config.parser import load_options
from utils.data.catalog import IMAGE_FOLDER, SALIENCY_FOLDER, KnownDataset
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import read_image_list
from utils.data.images import image_or_guess
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.published_places import first_existing
from utils.files.text import first_few
from utils.runs.paths import RunPaths


@dataclass(frozen=True)
class Run:
    """A run as seen by later steps: its folder, its dataset, and its training options.

    Paths that a step does not give default to those the run was trained on, or, for another dataset (trained is None),
    to the dataset's own.
    """

    paths: RunPaths
    data: Dataset
    trained: TrainOptions | None = None

    def image_dir(self, given: str | None) -> Path:
        """Return the folder of photographs."""
        return find_image_dir(self.data, self._option("image_dir", given))

    def sal_dir(self, given: str | None) -> Path | None:
        """Return the folder of saliency maps; None for `none` or if the dataset has no such folder."""
        name = self._option("sal_dir", given)
        folder = find_sal_dir(self.data, self._option("image_dir", None), name)
        return folder if name or (folder and folder.is_dir()) else None

    def saliency_files(self, names: Sequence[str], given: str | None) -> dict[str, Path]:
        """Map every name to its saliency map. Raises UserError if the folder or maps are missing."""
        remedy = f"run scripts/make_saliency.py --dataset={self.data.root}, or give --sal_dir"
        folder = self.sal_dir(given)
        if folder is None:
            raise UserError("no saliency maps", self.data.sal_dir, "this step combines CAMs with saliency", remedy)
        files = {name: image_or_guess(folder, name, suffix=".png") for name in names}
        check_present(files.values(), "saliency maps", remedy)
        return files

    def train_list(self, given: str | None) -> Path:
        """Return the list of images."""
        listing = self._option("train_list", given)
        return self.data.train_list if listing is None else existing_path(listing, "image list")

    def _option(self, name: str, given: str | None) -> str | None:
        return getattr(self.trained, name) if given is None and self.trained else given


def open_run(paths: RunPaths, dataset: str | None, *, trained: TrainOptions | None = None) -> Run:
    """Open a run with the given dataset, or the one it was trained on.

    trained: its options, if the step has already read them. Raises UserError if the dataset is unknown.
    """
    if dataset is not None:
        return Run(paths, open_dataset(dataset))
    trained = trained or load_options(TrainOptions, paths.config)
    return Run(paths, open_dataset(trained.dataset), trained)


def find_image_dir(data: Dataset, image_dir: str | None) -> Path:
    """Return the given folder of photographs (or its parent, as in the published scripts), or the dataset's own."""
    if image_dir is None:
        return data.image_dir
    folder = existing_path(image_dir, "--image_dir")
    return folder / IMAGE_FOLDER if (folder / IMAGE_FOLDER).is_dir() else folder


def find_sal_dir(data: Dataset, image_dir: str | None, sal_dir: str | None) -> Path | None:
    """Return the given folder of saliency maps, or the dataset's own, which may be missing; None for `none`.

    A plain name is searched beside the images, as in the published scripts, and in the dataset; likewise Sal if the
    dataset has none. Raises UserError if a given folder is not found.
    """
    if sal_dir == "none":
        return None
    beside = [data.root]
    if image_dir is not None:
        folder = existing_path(image_dir, "--image_dir")
        beside = [folder, folder.parent, data.root]
    if sal_dir is None:
        return first_existing(data.sal_dir, [folder / SALIENCY_FOLDER for folder in beside])
    if "/" not in sal_dir:
        for folder in beside:
            if (folder / sal_dir).is_dir():
                return folder / sal_dir
    return existing_path(sal_dir, "--sal_dir")


class TrainingPaths(NamedTuple):
    """Inputs of training: folders of images and saliency maps (None: without), and the list."""

    image_dir: Path
    sal_dir: Path | None
    train_list: Path


def training_paths(
    data: Dataset, *, image_dir: str | None, sal_dir: str | None, train_list: str | None
) -> TrainingPaths:
    """Return the given paths, which must exist, or the dataset's own, which may be missing. Raises UserError."""
    saliency = find_sal_dir(data, image_dir, sal_dir)
    listing = existing_path(train_list, "--train_list") if train_list else data.train_list
    return TrainingPaths(find_image_dir(data, image_dir), saliency, listing)


def check_present(paths: Iterable[Path], what: str, remedy: str) -> None:
    """Raise one UserError with the number of missing files and the first few names."""
    paths = list(paths)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        names = first_few(path.name for path in missing)
        raise UserError(
            f"{len(missing)} of {len(paths)} {what} are missing ({names})", missing[0].parent, remedy=remedy
        )


def list_sizes(folder: Path, known: KnownDataset) -> list[str]:
    """Return a line per official list in the folder: its number of images, and the official number if it differs."""
    lines = []
    for name, size in known.list_sizes.items():
        if (folder / name).is_file():
            found = len(read_image_list(folder / name, len(known.classes)))
            differs = "" if found == size else f": the official list has {size:,}"
            lines.append(f"{name}: {found:,} images{differs}")
    return lines


def next_steps(folder: Path) -> str:
    """Return the commands to run after a dataset's lists are written."""
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    steps = [f"python3 scripts/check_data.py --dataset={quote(str(shown))}"]
    if not (folder / SALIENCY_FOLDER).is_dir():
        steps.insert(
            0, f"python3 scripts/make_saliency.py --dataset={quote(str(shown))}    # or train with --sal_dir=none"
        )
    return "next:\n  " + "\n  ".join(steps)
