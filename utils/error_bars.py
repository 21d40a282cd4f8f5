"""Bootstrap: error bars of scores on few photos, and scores of all photos estimated from a sample."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.runs.annotation_sample import Weights, read_sample

MOST = 300  # photos; with more, error bars are smaller than differences between trainings, and take longer
DRAWS, SEED, LEVEL = 2000, 0, 95
AT_ONCE = 250  # draws whose confusion matrices are in memory at the same time
METHOD = (
    f"{LEVEL} % percentile interval of {DRAWS} bootstrap samples of the photos; it is only the spread between photos, "
    "not between trainings, and slightly too narrow for fewer than 20 photos"
)
OF_ALL = (
    "photos of to_annotate.json, weighted by the number of photos that each represents, resampled within strata; the "
    "mean over photos is unbiased; the mIoU is not, and excludes classes that none of them shows"
)


class PhotoMatrices:
    """Each photo's confusion matrix (L, L) by name, kept if there are few photos."""

    def __init__(self, count: int) -> None:
        """count: number of photos that will be added."""
        self.are_kept = 2 <= count <= MOST
        self._of_photo: dict[str, np.ndarray] = {}

    def add(self, name: str, matrix: np.ndarray) -> None:
        if self.are_kept:
            self._of_photo[name] = matrix

    def as_json(self, classes: Sequence[str], run: Path) -> dict[str, Any]:
        """Return error_bars of the scores, and estimate_of_all if the run's folder has a sample covered by the photos.

        Empty for too many photos, or a single one. classes: without background.
        """
        if len(self._of_photo) < 2:
            return {}
        bars = {"photos": len(self._of_photo), "method": METHOD}
        content: dict[str, Any] = {"error_bars": bars | intervals(list(self._of_photo.values()), classes)}
        sample = read_sample(run)
        weights = sample.weights_of(self._of_photo) if sample else None
        if sample and weights:
            found = estimate(self._of_photo, weights, classes)
            content["estimate_of_all"] = {
                "photos": len(weights.weights),
                "of": sum(sample.strata),
                "rule": OF_ALL,
            } | found
        return content


def intervals(
    matrices: Sequence[np.ndarray],
    classes: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    strata: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Compute [low, high] of mean_iou, pixel_accuracy, photo_mean_iou and each of class_iou; None if unknown.

    matrices (N, L, L): rows are the masks. weights: number of photos that each represents. strata: photos are drawn
    within these. photo_mean_iou: mean over photos of each photo's mean IoU over the labels in its mask or prediction.
    """
    stacked = np.stack(matrices).astype(np.float64)
    used = np.flatnonzero(stacked.sum(axis=(0, 1)) + stacked.sum(axis=(0, 2)))  # absent labels have no IoU anyway
    small = stacked[:, used][:, :, used]
    factors = np.ones(len(small)) if weights is None else np.asarray(weights, np.float64)
    counts = _resamples(np.zeros(len(small), int) if strata is None else np.asarray(strata)) * factors
    of_photo = _scores(small)["mean_iou"]
    parts: dict[str, list[np.ndarray]] = {"mean_iou": [], "pixel_accuracy": [], "class_iou": []}
    for first in range(0, len(counts), AT_ONCE):
        pooled = counts[first : first + AT_ONCE] @ small.reshape(len(small), -1)
        for name, values in _scores(pooled.reshape(-1, len(used), len(used))).items():
            parts[name].append(values)
    drawn = {name: np.concatenate(values) for name, values in parts.items()}
    names = ("background", *classes)
    by_class = {names[label]: _interval(drawn["class_iou"][:, place]) for place, label in enumerate(used)}
    return {
        "mean_iou": _interval(drawn["mean_iou"]),
        "pixel_accuracy": _interval(drawn["pixel_accuracy"]),
        "photo_mean_iou": _interval(_weighted_mean(of_photo, counts)),
        "class_iou": {name: by_class.get(name) for name in names},
    }


def estimate(matrices: Mapping[str, np.ndarray], sample: Weights, classes: Sequence[str]) -> dict[str, Any]:
    """Estimate the scores of all photos that the sample represents, with their intervals under `error_bars`."""
    names = list(sample.weights)
    weights = np.array([sample.weights[name] for name in names])
    stacked = np.stack([matrices[name] for name in names]).astype(np.float64)
    pooled = _scores((weights @ stacked.reshape(len(names), -1)).reshape(1, *stacked.shape[1:]))
    of_photo = _weighted_mean(_scores(stacked)["mean_iou"], weights[None])
    bars = intervals(list(stacked), classes, weights=weights.tolist(), strata=[sample.strata[name] for name in names])
    return {
        "mean_iou": _known(pooled["mean_iou"][0]),
        "pixel_accuracy": _known(pooled["pixel_accuracy"][0]),
        "photo_mean_iou": _known(of_photo[0]),
        "error_bars": bars,
    }


def lines(content: Mapping[str, Any]) -> Iterable[str]:
    """Format the result of as_json as text."""
    if bars := content.get("error_bars"):
        found = _shown(bars["mean_iou"])
        yield f"mIoU on these {bars['photos']} photos: {found} ({LEVEL} % interval, bootstrap over photos)"
    if of_all := content.get("estimate_of_all"):
        bars = of_all["error_bars"]
        found = ", ".join(
            f"{title} {'unknown' if of_all[name] is None else f'{of_all[name]:.1%}'} ({_shown(bars[name])})"
            for name, title in (("mean_iou", "mIoU"), ("photo_mean_iou", "mean over photos"))
        )
        yield f"estimate for all {of_all['of']} photos with tags, from {of_all['photos']} weighted ones: {found}"


def _shown(interval: Sequence[float] | None) -> str:
    return "unknown" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"


def _resamples(strata: np.ndarray) -> np.ndarray:
    """Draw samples with replacement within strata. Returns (DRAWS, N): how often each photo is in each sample."""
    generator = np.random.default_rng(SEED)
    counts = np.zeros((DRAWS, len(strata)))
    for stratum in np.unique(strata):
        places = np.flatnonzero(strata == stratum)
        counts[:, places] = generator.multinomial(len(places), np.full(len(places), 1 / len(places)), size=DRAWS)
    return counts


def _scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Compute mean_iou (B,), pixel_accuracy (B,) and class_iou (B, L) of (B, L, L); nan if unknown."""
    hit = np.diagonal(matrices, axis1=1, axis2=2)
    union = matrices.sum(axis=1) + matrices.sum(axis=2) - hit
    iou = np.divide(hit, union, out=np.full(hit.shape, np.nan), where=union > 0)
    known = np.count_nonzero(union > 0, axis=1)
    total = matrices.sum(axis=(1, 2))
    nothing = np.full(len(matrices), np.nan)
    return {
        "mean_iou": np.divide(np.nansum(iou, axis=1), known, out=nothing.copy(), where=known > 0),
        "pixel_accuracy": np.divide(hit.sum(axis=1), total, out=nothing.copy(), where=total > 0),
        "class_iou": iou,
    }


def _weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average values (N,), ignoring nan, weighted by counts (B, N) -> (B,)."""
    known = ~np.isnan(values)
    total = counts[:, known].sum(axis=1)
    sums = counts[:, known] @ values[known]
    return np.divide(sums, total, out=np.full(len(counts), np.nan), where=total > 0)


def _interval(drawn: np.ndarray) -> list[float] | None:
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return None
    low, high = np.percentile(known, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return [float(low), float(high)]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
