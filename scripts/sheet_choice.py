"""Which images a contact sheet shows: those of a run's typical quality, chosen by a rule and not by hand."""

from collections.abc import Sequence

import numpy as np

from utils.cam.artefact import read_cam_keys
from utils.metrics import label_confusion
from utils.report.pictures import Sources, read_optional_label, spread

BY_MEDIAN = "the images of each class whose pseudo labels score nearest to the class's median"
BY_LIST = "evenly over the list"


def typical_images(sources: Sources, names: Sequence[str], count: int) -> tuple[list[str], str]:
    """At most `count` of the names and the rule they were chosen by: of each class as many, of median mIoU.

    Without pseudo labels or masks, or with more classes than images to show, evenly over the list.
    """
    scores = {name: score for name in names if (score := _score(sources, name)) is not None}
    members: list[list[str]] = [[] for _ in sources.classes]
    for name in scores:
        for key in read_cam_keys(sources.paths.cam_dir / f"{name}.npz"):
            members[key].append(name)
    members = [sorted(group, key=lambda name: (scores[name], name)) for group in members if group]
    if not members or len(members) > count:
        return spread(names, count), BY_LIST
    chosen: list[str] = []
    for group in members:
        middle = (len(group) - 1) / 2
        ranks = sorted(range(len(group)), key=lambda rank: abs(rank - middle))
        chosen += [group[rank] for rank in ranks if group[rank] not in chosen][: count // len(members)]
    others, free = [name for name in names if name not in scores], count - len(chosen)
    return [*chosen, *(spread(others, free) if others and free > 0 else [])], BY_MEDIAN


def _score(sources: Sources, name: str) -> float | None:
    """The mIoU of one image's pseudo label over the classes in it or in its mask; None where one of both is missing."""
    label, mask = (read_optional_label(folder, name) for folder in (sources.label_dir, sources.mask_dir))
    if label is None or mask is None or label.shape != mask.shape:
        return None
    value = label_confusion(label, mask, num_labels=len(sources.classes) + 1).scores().mean_iou
    return None if np.isnan(value) else float(value)
