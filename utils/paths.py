"""Where things are: the project's folders, a data set's folder, a run's folder, and files written whole."""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from utils import catalog
from utils.text import read_text

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def existing_path(path: str | Path, what: str, *, places: Sequence[Path] = ()) -> Path:
    """An input path as the user means it: absolute, else from the current folder, `places`, the project's folder.

    Raises FileNotFoundError naming every place looked at.
    """
    path = Path(path).expanduser()
    candidates = [path] if path.is_absolute() else [place / path for place in (Path.cwd(), *places, PROJECT_ROOT)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    places = " nor ".join(str(c) for c in dict.fromkeys(candidates))
    raise FileNotFoundError(f"{what}: {places} does not exist")


def weights_path(
    value: str,
    what: str = "--init_weights (ImageNet weights of the backbone: see README)",
    *,
    places: Sequence[Path] = (),
) -> Path:
    """The file that an option names: a path, or `package:NAME` for the one .pth or .safetensors in a package.

    `what` is the option, for messages. Raises FileNotFoundError with the remedy.
    """
    package = value.removeprefix("package:")
    if package == value:
        return existing_path(value, what, places=places)
    option = f"{what.split()[0]}={value}"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"{option}: run `pip install {package.replace('_', '-')}` first")
    folder = Path(found.submodule_search_locations[0])
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".pth", ".safetensors"))
    if len(files) != 1:
        raise FileNotFoundError(f"{option}: {folder} holds {len(files)} weight files: name one by its path")
    return files[0]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes it if the block succeeds, and vanishes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes UTF-8 text of one line an item, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@dataclass(frozen=True)
class Dataset:
    """A data set's folder in VOC's layout. `classes` are the object class names in tag order, without background."""

    root: Path
    name: str
    classes: tuple[str, ...]
    checkpoint_prefix: str

    @property
    def num_labels(self) -> int:
        """Classes and background."""
        return len(self.classes) + 1

    @property
    def image_dir(self) -> Path:
        return self.root / catalog.IMAGE_FOLDER

    @property
    def sal_dir(self) -> Path:
        return self.root / catalog.SALIENCY_FOLDER

    @property
    def mask_dir(self) -> Path:
        return self.root / catalog.MASK_FOLDER

    @property
    def train_list(self) -> Path:
        return self.root / catalog.TRAIN_TAGS

    @property
    def mask_list(self) -> Path:
        return self.root / catalog.TRAIN_MASKS


def open_dataset(
    folder: str | Path, *, option: str = "--dataset", classes: Sequence[str] = (), places: Sequence[Path] = ()
) -> Dataset:
    """Opens a data set by its folder: class names as given, else from its classes.txt, else the known ones of its name.

    A known data set may still be empty: what it lacks is for the stage that reads it to tell, all at once.
    Raises FileNotFoundError where another folder is missing, ValueError where nothing tells its classes.
    """
    folder = catalog.DATASET_ALIASES.get(str(folder), str(folder))
    known = catalog.KNOWN_DATASETS.get(Path(folder).name)
    try:
        root = existing_path(folder, option, places=places)
    except FileNotFoundError:
        if known is None:
            raise
        root = PROJECT_ROOT / folder
    name = root.resolve().name
    listing = root / catalog.CLASSES_FILE
    if classes:
        classes = tuple(classes)
    elif listing.is_file():
        classes = tuple(line.strip() for line in read_text(listing).splitlines() if line.strip())
        repeated = sorted({c for c in classes if classes.count(c) > 1})
        if not classes or repeated:
            raise ValueError(f"{listing}: class names must be there and differ; repeated: {repeated}")
        if len(classes) >= catalog.IGNORE_INDEX:
            raise ValueError(f"{listing}: {len(classes)} classes, but 8-bit masks hold at most 254")
    elif known:
        classes = known.classes
    else:
        raise ValueError(f"{listing} is missing: write the class names there, one a line, in tag order")
    return Dataset(root, name, classes, known.checkpoint_prefix if known else name)


@dataclass(frozen=True)
class RunPaths:
    """The folder of one experiment: runs/EXP."""

    root: Path

    @classmethod
    def of(cls, runs_dir: str | Path | None, experiment_name: str) -> "RunPaths":
        """runs_dir None is the project's own runs/; a relative one is taken from the current folder."""
        if not experiment_name or "/" in experiment_name or experiment_name in (".", ".."):
            raise ValueError(f"--experiment_name={experiment_name!r} names a folder in runs/: use a name without '/'")
        return cls((PROJECT_ROOT / "runs" if runs_dir is None else Path(runs_dir).absolute()) / experiment_name)

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def versions(self) -> Path:
        return self.root / "versions.json"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def model_dir(self) -> Path:
        return self.root / "model"

    @property
    def cam_dir(self) -> Path:
        return self.root / "cam"

    @property
    def attention_dir(self) -> Path:
        return self.root / "ms" / "attention"

    @property
    def heatmap_dir(self) -> Path:
        return self.root / "ms" / "accu_att_zoom"

    @property
    def irn_dir(self) -> Path:
        return self.root / "cam_npy_irn"

    @property
    def affinity_dir(self) -> Path:
        return self.root / "cam_npy_aff"

    @property
    def cam_scores(self) -> Path:
        return self.root / "cam_scores.json"

    @property
    def label_scores(self) -> Path:
        return self.root / "label_scores.json"

    @property
    def report_dir(self) -> Path:
        return self.root / "report"


def pseudo_label_dir(dataset_name: str, experiment_name: str) -> Path:
    """data/NAME/pseudo_seg_labels_EXP in the project, also for a data set kept elsewhere."""
    return PROJECT_ROOT / "data" / dataset_name / f"pseudo_seg_labels_{experiment_name}"


def segmentation_dir(kind: str, experiment_name: str) -> Path:
    """deeplabv2/data/KIND/EXP in the project, KIND one of models, features, scores; each training may have a folder."""
    return PROJECT_ROOT / "deeplabv2" / "data" / kind / experiment_name


def foreground_bank_dir(experiment_name: str) -> Path:
    """sem_seg_fg/EXP in the project: the foregrounds cut out by an experiment's pseudo labels."""
    return PROJECT_ROOT / "sem_seg_fg" / experiment_name
