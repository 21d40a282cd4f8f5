"""What a later stage needs of a run: its data set, its lists, and whether the files it will read are there."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.config.options import TrainOptions
from utils.config.parser import load_options
from utils.data.catalog import IMAGE_FOLDER, SALIENCY_FOLDER, KnownDataset
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import read_image_list
from utils.data.images import image_or_guess
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.text import first_few
from utils.runs.paths import RunPaths


def dataset_of_run(run: RunPaths, dataset: str | None) -> Dataset:
    """The named data set, or the one that the run was trained on. Raises UserError where neither is known."""
    return open_dataset(load_options(TrainOptions, run.config).dataset if dataset is None else dataset)


def image_dir_of_run(run: RunPaths, data: Dataset, *, image_dir: str | None, dataset: str | None) -> Path:
    """Folder of photographs: the named one, else what the run was trained on, else the data set's own."""
    if image_dir is None and dataset is None:
        image_dir = load_options(TrainOptions, run.config).image_dir
    return find_image_dir(data, image_dir)


def find_image_dir(data: Dataset, image_dir: str | None) -> Path:
    """The named folder of photographs, or the data set's own. The published scripts name the folder above it."""
    if image_dir is None:
        return data.image_dir
    folder = existing_path(image_dir, "--image_dir")
    return folder / IMAGE_FOLDER if (folder / IMAGE_FOLDER).is_dir() else folder


class TrainingPlaces(NamedTuple):
    """Where training looks: folders of images and saliency maps (None: without), and the list."""

    image_dir: Path
    sal_dir: Path | None
    train_list: Path


def training_places(
    data: Dataset, *, image_dir: str | None, sal_dir: str | None, train_list: str | None
) -> TrainingPlaces:
    """The named places, or the data set's own, which may be missing. Raises UserError for a named one."""
    saliency = None
    if sal_dir != "none":
        saliency = existing_path(sal_dir, "--sal_dir") if sal_dir else data.sal_dir
    listing = existing_path(train_list, "--train_list") if train_list else data.train_list
    return TrainingPlaces(find_image_dir(data, image_dir), saliency, listing)


def sal_dir_of_run(run: RunPaths, data: Dataset, *, sal_dir: str | None, dataset: str | None) -> Path | None:
    """Folder of saliency maps: the named one, else what the run was trained on, else the data set's own.

    None for `none`, and where the data set has no such folder.
    """
    if sal_dir is None and dataset is None:
        sal_dir = load_options(TrainOptions, run.config).sal_dir
    if sal_dir is None:
        return data.sal_dir if data.sal_dir.is_dir() else None
    return None if sal_dir == "none" else existing_path(sal_dir, "--sal_dir")


def saliency_files(
    run: RunPaths, data: Dataset, names: Sequence[str], *, sal_dir: str | None, dataset: str | None
) -> dict[str, Path]:
    """Name -> saliency map of every image. Raises UserError without a folder, and FileNotFoundError counting gaps."""
    remedy = f"run scripts/make_saliency.py --dataset={data.root}, or give --sal_dir"
    folder = sal_dir_of_run(run, data, sal_dir=sal_dir, dataset=dataset)
    if folder is None:
        raise UserError("no saliency maps", data.sal_dir, "saliency is joined with CAMs here", remedy)
    files = {name: image_or_guess(folder, name, suffix=".png") for name in names}
    check_present(files.values(), "saliency maps", remedy)
    return files


def train_list_of_run(run: RunPaths, data: Dataset, *, image_list: str | None, dataset: str | None) -> Path:
    """List of images: the named one, else what the run was trained on, else the data set's training list."""
    if image_list is None and dataset is None:
        image_list = load_options(TrainOptions, run.config).train_list
    return data.train_list if image_list is None else existing_path(image_list, "image list")


def check_present(paths: Iterable[Path], what: str, remedy: str) -> None:
    """Raises one UserError that counts the missing files and names the first few."""
    paths = list(paths)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        names = first_few(path.name for path in missing)
        raise UserError(
            f"{len(missing)} of {len(paths)} {what} are missing ({names})", missing[0].parent, remedy=remedy
        )


def list_sizes(folder: Path, known: KnownDataset) -> list[str]:
    """A line for every official list in the folder: its images, and how many are known where these differ."""
    lines = []
    for name, size in known.list_sizes.items():
        if (folder / name).is_file():
            found = len(read_image_list(folder / name, len(known.classes)))
            differs = "" if found == size else f": the official list has {size:,}"
            lines.append(f"{name}: {found:,} images{differs}")
    return lines


def next_steps(folder: Path) -> str:
    """What to run once a data set's lists are written."""
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    steps = [f"python3 scripts/check_data.py --dataset={shown}"]
    if not (folder / SALIENCY_FOLDER).is_dir():
        steps.insert(0, f"python3 scripts/make_saliency.py --dataset={shown}    # or train with --sal_dir=none")
    return "next:\n  " + "\n  ".join(steps)
