"""Judgement of a run's labels without masks: figures per photo and per class, from scripts/judge_labels.py."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.atomic import read_json, write_json

FILE = "label_judgement.json"
MISSING, SALIENCY, ROUNDS, NETWORK = "missing", "saliency", "rounds", "network"
# figure -> its meaning, stored in every file and shown above every table
RULES = {
    MISSING: "fraction of the photos with a tag whose label has no pixel of it (overall: of any of its tags)",
    SALIENCY: "IoU of a label's objects with the salient pixels, mean over the photos with tags",
    ROUNDS: "IoU of the labels with those of the first round, pooled over the pixels of all photos; overall the mean "
    "over the classes and background",
    NETWORK: "IoU of the network's masks, which do not use tags, with the labels, pooled in the same way",
    "doubt": "the mean of the fraction of its tags without a pixel, 1 - IoU of label and saliency, 1 - mean IoU of the "
    "two rounds' labels, and 1 - mean IoU of network and label, as far as they are known; a mean IoU is over the "
    "classes in either, including background",
}


@dataclass(frozen=True)
class Figures:
    """Figures in 0..1 of one class or of all photos, see RULES; None if there is nothing to compare with."""

    photos: int
    missing: float | None
    saliency: float | None
    rounds: float | None
    network: float | None


@dataclass(frozen=True)
class PhotoFigures:
    """One photo: its tags, those without a pixel in its label, and IoUs in 0..1, None if there is nothing to compare.

    A negative, which has no tags, is only judged by the network.
    """

    name: str
    tags: tuple[str, ...]
    missing: tuple[str, ...]
    saliency: float | None
    rounds: float | None
    network: float | None

    @property
    def doubt(self) -> float:
        """How doubtful the label is, in 0..1 (see RULES); 0 if nothing is known."""
        doubts = [1 - value for value in (self.saliency, self.rounds, self.network) if value is not None]
        if self.tags:
            doubts.append(len(self.missing) / len(self.tags))
        return sum(doubts) / len(doubts) if doubts else 0.0


@dataclass(frozen=True)
class LabelJudgement:
    """All figures of a run's labels. made_of: the compared folders, None if not given."""

    made_of: Mapping[str, str | None]
    overall: Figures
    classes: Mapping[str, Figures]
    photos: tuple[PhotoFigures, ...]
    warnings: tuple[str, ...] = ()

    def most_doubtful(self) -> list[PhotoFigures]:
        """Return the photos, most doubtful first, ties by name."""
        return sorted(self.photos, key=lambda photo: (-photo.doubt, photo.name))

    def doubts(self) -> dict[str, float]:
        """Map each image's name to its doubt."""
        return {photo.name: photo.doubt for photo in self.photos}

    def summary(self) -> str:
        """Summarise the known figures in one line."""
        found = self.overall
        parts = [f"a tag without a pixel in {percent(found.missing)} of the photos"]
        for value, text in (
            (found.saliency, "saliency"),
            (found.rounds, "the first round"),
            (found.network, "the network's masks"),
        ):
            if value is not None:
                parts.append(f"{percent(value)} with {text}")
        return f"labels without masks: {parts[0]}; agreement (IoU): {', '.join(parts[1:]) or 'nothing to compare with'}"


def percent(value: float | None) -> str:
    """Format as `12 %`, or a dash for None."""
    return "-" if value is None else f"{value:.0%}".replace("%", " %")


def write_label_judgement(folder: Path, judgement: LabelJudgement) -> Path:
    """Write label_judgement.json with the rules into the run's folder and return its path."""
    content = {
        "rules": RULES,
        "summary": judgement.summary(),
        **asdict(judgement),
        "photos": [{**asdict(photo), "doubt": round(photo.doubt, 4)} for photo in judgement.photos],
    }
    write_json(folder / FILE, content)
    return folder / FILE


def read_label_judgement(folder: Path) -> LabelJudgement | None:
    """Read the judgement in the run's folder; None if its labels were not judged. Raises UserError naming the file."""
    path = folder / FILE
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return LabelJudgement(
            content["made_of"],
            _figures(content["overall"]),
            {name: _figures(values) for name, values in content["classes"].items()},
            tuple(_photo(row) for row in content["photos"]),
            tuple(content["warnings"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"is damaged ({type(error).__name__}: {error})"
        raise UserError(what, path, remedy="run scripts/judge_labels.py again") from error


def _figures(row: dict[str, Any]) -> Figures:
    return Figures(row["photos"], *(_fraction(row[name]) for name in (MISSING, SALIENCY, ROUNDS, NETWORK)))


def _photo(row: dict[str, Any]) -> PhotoFigures:
    figures = [_fraction(row[name]) for name in (SALIENCY, ROUNDS, NETWORK)]
    return PhotoFigures(str(row["name"]), tuple(row["tags"]), tuple(row["missing"]), *figures)


def _fraction(value: Any) -> float | None:
    """Raises ValueError or TypeError unless value is None or in 0..1."""
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{value} is not in 0..1")
    return value
