"""A random sample of photos to draw masks for, with weights such that it represents all photos."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files.atomic import read_json, write_json
from utils.runs.label_judgement import PhotoFigures

FILE = "to_annotate.json"
STRATA = ("most doubtful third", "middle third", "least doubtful third")
# fractions of the sample: photos are most informative where labels differ most
PARTS = (1 / 2, 1 / 3, 1 / 6)
LEAST = 2  # photos per stratum, the minimum for estimating a spread
FEWEST = LEAST * len(STRATA)
RULE = (
    "photos with tags, sorted by doubt, in three strata of equal size; half of the sample from the most doubtful one, "
    "a third and a sixth from the others; within a stratum every k-th photo from a random start, in the order of their "
    "rarest tag; weight: photos of the stratum per chosen one"
)


@dataclass(frozen=True)
class ChosenPhoto:
    """A photo of the sample. file: its path in the folder of photos. weight: the number of photos it represents."""

    name: str
    file: str
    tags: tuple[str, ...]
    doubt: float
    stratum: int
    weight: float


@dataclass(frozen=True)
class AnnotationSample:
    """The photos of a sample, and the number of photos in each stratum from which it was drawn."""

    seed: int
    strata: tuple[int, ...]
    photos: tuple[ChosenPhoto, ...]

    def weights_of(self, names: Collection[str]) -> "Weights | None":
        """Return the weights of the sample's photos among the names; None unless each stratum has some.

        If some photos of a stratum are missing, the others represent them.
        """
        there = [photo for photo in self.photos if photo.name in names]
        counts = Counter(photo.stratum for photo in there)
        if len(counts) < len(self.strata):
            return None
        weights = {photo.name: self.strata[photo.stratum] / counts[photo.stratum] for photo in there}
        return Weights(weights, {photo.name: photo.stratum for photo in there})


@dataclass(frozen=True)
class Weights:
    """Photo's name -> the number of photos it represents, and its stratum."""

    weights: Mapping[str, float]
    strata: Mapping[str, int]


def draw_sample(
    photos: Sequence[PhotoFigures], number: int, *, seed: int, files: Mapping[str, str] | None = None
) -> AnnotationSample:
    """Draw `number` photos with tags by RULE. files: name -> file, default the names themselves.

    All photos of a stratum have the same probability, so that weighted sums over the sample are unbiased. Raises
    UserError if there are too few photos.
    """
    tagged = sorted((photo for photo in photos if photo.tags), key=lambda photo: (-photo.doubt, photo.name))
    if number > len(tagged):
        raise UserError(f"{len(tagged)} photos have tags", f"--number={number}", remedy="choose fewer")
    bounds = [round(len(tagged) * part / len(STRATA)) for part in range(len(STRATA) + 1)]
    groups = [tagged[first:last] for first, last in pairwise(bounds)]
    frequency = Counter(tag for photo in tagged for tag in photo.tags)
    generator = np.random.default_rng(seed)
    chosen = []
    for stratum, (group, count) in enumerate(zip(groups, _counts(number, [len(group) for group in groups]))):
        by_class = sorted(group, key=lambda photo: (*_rarest(photo, frequency), photo.name))
        start = generator.random()
        for place in range(count):
            photo = by_class[int((place + start) * len(group) / count)]
            file = photo.name if files is None else files.get(photo.name, photo.name)
            weight = len(group) / count
            chosen.append(ChosenPhoto(photo.name, file, photo.tags, round(photo.doubt, 4), stratum, weight))
    return AnnotationSample(seed, tuple(len(group) for group in groups), tuple(chosen))


def _rarest(photo: PhotoFigures, frequency: Mapping[str, int]) -> tuple[int, str]:
    return min((frequency[tag], tag) for tag in photo.tags)


def _counts(number: int, sizes: Sequence[int]) -> list[int]:
    """Return the number of photos per stratum: by PARTS, at least LEAST, at most all of it, `number` in total."""
    counts = [max(LEAST, round(number * part)) for part in PARTS]
    counts[0] = max(LEAST, number - sum(counts[1:]))
    for place, size in enumerate(sizes):
        over = max(0, counts[place] - size)
        counts[place] -= over
        for other in (other for other in range(len(sizes)) if over and other != place):
            moved = min(over, max(0, sizes[other] - counts[other]))
            counts[other] += moved
            over -= moved
    return counts


def write_sample(folder: Path, sample: AnnotationSample) -> Path:
    """Write to_annotate.json into the run's folder and return its path."""
    write_json(folder / FILE, {"rule": RULE, "strata_names": STRATA, **asdict(sample)})
    return folder / FILE


def read_sample(folder: Path) -> AnnotationSample | None:
    """Read the sample of a run; None if none was drawn. Raises UserError naming the file."""
    path = folder / FILE
    if not path.is_file():
        return None
    content = read_json(path, remedy="run scripts/choose_to_annotate.py again")
    try:
        photos = [ChosenPhoto(**{**row, "tags": tuple(row["tags"])}) for row in content["photos"]]
        strata = tuple(content["strata"])
        if not all(isinstance(size, int) and size > 0 for size in strata):
            raise ValueError(f"strata of {strata} photos")
        if strange := [photo.name for photo in photos if photo.stratum not in range(len(strata))]:
            raise ValueError(f"the stratum of {strange[0]}")
        return AnnotationSample(content["seed"], strata, tuple(photos))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"is damaged: {error}", path, remedy="run scripts/choose_to_annotate.py again") from error
