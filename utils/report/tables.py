"""Data of the report's tables: IoU by class, label statistics, options side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.data.catalog import IGNORE_INDEX
from utils.report.images import ImageFacts
from utils.report.runs import RunRecord, StageScores, changed_options

BACKGROUND = "background"


@dataclass(frozen=True)
class Bar:
    """One bar: its series' name and colour, and its value in 0..1, None for an absent class."""

    name: str
    color: int
    value: float | None


@dataclass(frozen=True)
class BarChart:
    """Bars by class: (class name, bars)."""

    title: str
    series: list[tuple[str, int]]
    rows: list[tuple[str, list[Bar]]]


@dataclass(frozen=True)
class LabelRow:
    """Statistics of one class over the images: fractions of pixels in 0..1, None if there are no such maps."""

    name: str
    index: int
    label_share: float | None
    mask_share: float | None
    tagged: int
    labelled: int


@dataclass(frozen=True)
class LabelStatistics:
    """Rows by class, and the number of label maps, masks and tagged images they are based on."""

    rows: list[LabelRow]
    labels: int
    masks: int
    tagged: int

    @property
    def largest_share(self) -> float:
        """Largest fraction of an object class in labels or masks, for the longest bar."""
        rows = [row for row in self.rows if row.index not in (0, IGNORE_INDEX)]
        return max((share for row in rows for share in (row.label_share, row.mask_share) if share), default=0.0)


def class_bars(runs: Sequence[RunRecord]) -> list[BarChart]:
    """Build the charts. One run: a single chart with a bar per stage. Several: a chart per stage with a bar per run."""
    if len(runs) == 1:
        stages = runs[0].stages
        return [bar_chart("IoU by class", [(s.stage, n, s) for n, s in enumerate(stages)])] if stages else []
    names = list(dict.fromkeys(stage.stage for run in runs for stage in run.stages))
    charts = []
    for name in names:
        found = [(run.name, n, s) for n, run in enumerate(runs) for s in run.stages if s.stage == name]
        charts.append(bar_chart(f"IoU by class: {name}", found))
    return charts


def bar_chart(title: str, series: Sequence[tuple[str, int, StageScores]]) -> BarChart:
    """Build a chart of the mean and every class in any of the series (name, colour, scores), in their order."""
    classes = list(dict.fromkeys(name for _, _, scores in series for name in scores.class_iou))
    rows = [("mean", [Bar(name, color, scores.mean_iou) for name, color, scores in series])]
    rows += [(c, [Bar(name, color, scores.class_iou.get(c)) for name, color, scores in series]) for c in classes]
    return BarChart(title, [(name, color) for name, color, _ in series], rows)


def label_statistics(images: Sequence[ImageFacts], classes: Sequence[str]) -> LabelStatistics:
    """Compute each class's fraction of all pixels, including ignored ones.

    Masks are counted only for images with pseudo labels, or for all images if none has any.
    """
    labels = [image.label_pixels for image in images if image.label_pixels is not None]
    masks = [i.mask_pixels for i in images if i.mask_pixels is not None and (i.label_pixels is not None or not labels)]
    tags = [tag for image in images for tag in image.tags]
    names = {index: name for index, name in enumerate((BACKGROUND, *classes))}
    for index in sorted({index for pixels in (*labels, *masks) for index in pixels}):
        names.setdefault(index, "ignored" if index == IGNORE_INDEX else f"index {index}")
    rows = [
        LabelRow(
            name,
            index,
            _share(labels, index),
            _share(masks, index),
            tagged=tags.count(index - 1),
            labelled=sum(index in pixels for pixels in labels),
        )
        for index, name in names.items()
    ]
    return LabelStatistics(rows, len(labels), len(masks), sum(image.has_cams for image in images))


def _share(maps: Sequence[Mapping[int, int]], index: int) -> float | None:
    total = sum(sum(pixels.values()) for pixels in maps)
    return sum(pixels.get(index, 0) for pixels in maps) / total if total else None


@dataclass(frozen=True)
class OptionRow:
    """One option or version of every run. notable: it differs from the default, or between the runs."""

    name: str
    values: list[str]
    notable: bool


def option_rows(runs: Sequence[RunRecord]) -> list[OptionRow]:
    """Return every option of the runs. Notable: differs from the default (one run), or between runs (several)."""
    changed = changed_options(runs[0].options) if len(runs) == 1 else None
    return _rows([run.options for run in runs], changed, ignored={"experiment_name"})


def version_rows(runs: Sequence[RunRecord]) -> list[OptionRow]:
    """Return every version of the runs. Notable: differs between them."""
    return _rows([run.versions for run in runs], None, ignored=set())


def _rows(tables: Sequence[Mapping[str, Any]], changed: set[str] | None, *, ignored: set[str]) -> list[OptionRow]:
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [as_text(table[name]) if name in table else "–" for table in tables]
        notable = len(set(values)) > 1 if changed is None else name in changed
        rows.append(OptionRow(name, values, notable and name not in ignored))
    return rows


def as_text(value: Any) -> str:
    """Format an option's value as on the command line."""
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if value is None or isinstance(value, bool):
        return {None: "default", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
