"""Selects typical images of a run for a contact sheet by a fixed rule."""

from collections.abc import Mapping, Sequence

import numpy as np

from utils.metrics import label_confusion
from utils.report.pictures import Sources, read_optional_label, spread_over_classes

BY_MEDIAN = "the images of each class whose pseudo labels score nearest to the class's median"
BY_CLASS = "as many of each class, evenly over the list"
MOST_CLASSES = "those that show the most classes"


def typical_images(sources: Sources, names: Sequence[str], count: int) -> tuple[list[str], str]:
    """Select at most `count` names: equally many per class, those with median mIoU. Also returns the rule in words.

    Images without a pseudo label or a mask have no score; images of their classes are selected evenly over the list. If
    there are more classes than images to show, the images with the most classes are selected.
    """
    tags_of = {name: sources.tags_of(name) for name in names}
    classes = sorted({tag for tags in tags_of.values() for tag in tags})
    chosen = _of_median(sources, tags_of, classes, count) if classes and len(classes) <= count else []
    shown = spread_over_classes(names, tags_of, count, chosen=chosen)
    rules = [BY_MEDIAN] if chosen else []
    if len(classes) > count:
        number = len({tag for name in shown for tag in tags_of[name]})
        rules = [f"{MOST_CLASSES}, {number} of {len(classes)}"]
    elif len(shown) > len(chosen):
        rules.append(("the others " if chosen else "") + BY_CLASS)
    return shown, "; ".join(rules)


def _of_median(sources: Sources, tags_of: Mapping[str, Sequence[int]], classes: Sequence[int], count: int) -> list[str]:
    """Of each class as many of those that have a score, nearest to the median of the class first."""
    scores = {name: score for name in tags_of if (score := _score(sources, name)) is not None}
    chosen: list[str] = []
    for tag in classes:
        group = sorted((name for name in scores if tag in tags_of[name]), key=lambda name: (scores[name], name))
        middle = (len(group) - 1) / 2
        ranks = sorted(range(len(group)), key=lambda rank: abs(rank - middle))
        chosen += [group[rank] for rank in ranks if group[rank] not in chosen][: count // len(classes)]
    return chosen


def _score(sources: Sources, name: str) -> float | None:
    """Return the mIoU of an image's pseudo label over the classes in it or its mask; None if either is missing."""
    label, mask = (read_optional_label(folder, name) for folder in (sources.label_dir, sources.mask_dir))
    if label is None or mask is None or label.shape != mask.shape:
        return None
    value = label_confusion(label, mask, num_labels=len(sources.classes) + 1).scores().mean_iou
    return None if np.isnan(value) else float(value)
