"""A dataset's folder in VOC's layout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.data import catalog
from utils.errors import UserError
from utils.files import locate
from utils.files.locate import existing_path
from utils.files.published_places import first_existing, published_lists
from utils.files.text import first_few, read_text


@dataclass(frozen=True)
class Dataset:
    """A dataset's folder in VOC's layout. `classes` are the object class names in tag order, without background."""

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
        """SegmentationClass; where it is missing, SegmentationClassAug, which holds the same masks and more."""
        return first_existing(self.root / catalog.MASK_FOLDER, [self.root / catalog.AUG_MASK_FOLDER])

    @property
    def train_list(self) -> Path:
        return self.list_file(catalog.TRAIN_TAGS)

    @property
    def mask_list(self) -> Path:
        return self.list_file(catalog.TRAIN_MASKS)

    def list_file(self, name: str) -> Path:
        """The image list of this file name, or where it is missing a published one that is there."""
        own = self.root / name
        return first_existing(own, published_lists(own, locate.PROJECT_ROOT))

    def named_list(self, value: str, option: str, places: Sequence[Path] = ()) -> Path:
        """The list that an option names: VALUE or VALUE.txt in the dataset's folder, or a path.

        Raises UserError for a path that leads nowhere.
        """
        named = self.list_file(value if value.endswith(".txt") else f"{value}.txt")
        if named.is_file() or ("/" not in value and not value.endswith(".txt")):
            return named
        return existing_path(value, option, places=places)


def open_dataset(
    folder: str | Path, *, option: str = "--dataset", classes: Sequence[str] = (), places: Sequence[Path] = ()
) -> Dataset:
    """Opens a dataset by its folder: class names as given, else from its classes.txt, else the known ones of its name.

    A known dataset may still be empty: the stage that reads it reports all missing files at once.
    Raises UserError where another folder is missing, and where no file states its classes.
    """
    folder = catalog.DATASET_ALIASES.get(str(folder), str(folder))
    known = catalog.KNOWN_DATASETS.get(Path(folder).name)
    try:
        root = existing_path(folder, option, places=places)
    except UserError:
        if known is None:
            raise
        root = locate.PROJECT_ROOT / folder
    if not (root / catalog.IMAGE_FOLDER).is_dir() and (root / catalog.DEVKIT_FOLDER / catalog.IMAGE_FOLDER).is_dir():
        root = root / catalog.DEVKIT_FOLDER
    name = catalog.FOLDER_NAMES.get(root.resolve().name, root.resolve().name)
    known = catalog.KNOWN_DATASETS.get(name, known)
    listing = root / catalog.CLASSES_FILE
    if classes:
        classes = tuple(classes)
    elif listing.is_file():
        classes = tuple(line.strip() for line in read_text(listing).splitlines() if line.strip())
        plain = Counter("".join(name.casefold().split()) for name in classes)
        repeated = [name for name in classes if plain["".join(name.casefold().split())] > 1]
        if not classes or repeated:
            what = f"repeated (letter case and spaces aside): {first_few(repeated)}" if repeated else "no class name"
            raise UserError(what, listing, "one class name a line, each once")
        if none := [name for name in classes if name.casefold().strip("_") in catalog.NO_CLASSES]:
            rule = "what belongs to no class is not listed: labels count the classes from 1, background is 0"
            raise UserError(f"lists {first_few(map(repr, none))}", listing, rule, "remove the line")
        if len(classes) >= catalog.IGNORE_INDEX:
            raise UserError(f"{len(classes)} classes", listing, f"8-bit masks hold at most {catalog.IGNORE_INDEX - 1}")
    elif known:
        classes = known.classes
    else:
        raise UserError("is missing", listing, remedy="write the class names there, one a line, in tag order")
    return Dataset(root, name, classes, known.checkpoint_prefix if known else name)
