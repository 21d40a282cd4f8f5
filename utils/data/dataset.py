"""A dataset folder in VOC's layout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.data import catalog
from utils.data.class_names import spelling_key
from utils.errors import UserError
from utils.files import locate
from utils.files.locate import existing_path
from utils.files.published_places import first_existing, published_lists
from utils.files.text import first_few, read_text


@dataclass(frozen=True)
class Dataset:
    """A dataset folder in VOC's layout. classes: object class names in tag order, without background."""

    root: Path
    name: str
    classes: tuple[str, ...]
    checkpoint_prefix: str

    @property
    def num_labels(self) -> int:
        """Number of classes including background."""
        return len(self.classes) + 1

    @property
    def image_dir(self) -> Path:
        return self.root / catalog.IMAGE_FOLDER

    @property
    def sal_dir(self) -> Path:
        return self.root / catalog.SALIENCY_FOLDER

    @property
    def mask_dir(self) -> Path:
        """SegmentationClass, or if it is missing SegmentationClassAug, which contains the same masks and more."""
        return first_existing(self.root / catalog.MASK_FOLDER, [self.root / catalog.AUG_MASK_FOLDER])

    @property
    def train_list(self) -> Path:
        return self.list_file(catalog.TRAIN_TAGS)

    @property
    def mask_list(self) -> Path:
        return self.list_file(catalog.TRAIN_MASKS)

    def list_file(self, name: str) -> Path:
        """Return the image list of this file name, or if it is missing an existing one in a published location."""
        own = self.root / name
        return first_existing(own, published_lists(own, locate.PROJECT_ROOT))

    def named_list(self, value: str, option: str, search_dirs: Sequence[Path] = ()) -> Path:
        """Resolve an option's list: VALUE or VALUE.txt in the dataset's folder, or a path.

        Raises UserError if the path does not exist.
        """
        named = self.list_file(value if value.endswith(".txt") else f"{value}.txt")
        if named.is_file() or ("/" not in value and not value.endswith(".txt")):
            return named
        return existing_path(value, option, search_dirs=search_dirs)


def open_dataset(
    folder: str | Path, *, option: str = "--dataset", classes: Sequence[str] = (), search_dirs: Sequence[Path] = ()
) -> Dataset:
    """Open a dataset by its folder. Class names: `classes`, else its classes.txt, else those of a known dataset.

    The folder of a known dataset may be empty: the step that reads it reports all missing files at once.
    Raises UserError if another folder is missing or its class names are unknown.
    """
    folder = catalog.DATASET_ALIASES.get(str(folder), str(folder))
    known = catalog.KNOWN_DATASETS.get(Path(folder).name)
    try:
        root = existing_path(folder, option, search_dirs=search_dirs)
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
        plain = Counter(map(spelling_key, classes))
        repeated = [name for name in classes if plain[spelling_key(name)] > 1]
        if not classes or repeated:
            what = f"repeated (letter case and spaces aside): {first_few(repeated)}" if repeated else "no class name"
            raise UserError(what, listing, "expected one class name per line, each once")
        if none := [name for name in classes if name.casefold().strip("_") in catalog.NO_CLASSES]:
            rule = "background and ignored pixels are not listed: labels are 0 for background, classes count from 1"
            raise UserError(f"lists {first_few(map(repr, none))}", listing, rule, "remove the line")
        if len(classes) >= catalog.IGNORE_INDEX:
            raise UserError(f"{len(classes)} classes", listing, f"8-bit masks allow at most {catalog.IGNORE_INDEX - 1}")
    elif known:
        classes = known.classes
    else:
        raise UserError("is missing", listing, remedy="write the class names there, one per line, in tag order")
    return Dataset(root, name, classes, known.checkpoint_prefix if known else name)
