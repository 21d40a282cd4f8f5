"""Compare this project's way with the plain way on this machine, in one run: python scripts/benchmark.py.

Ratios say the same on fast and slow machines. Nothing else should run meanwhile; the full size takes minutes.
"""

import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only

from models.cam_net import CamNet, build_cam_net
from utils.cam import ZERO, read_cam, to_label, to_uint8, write_cam
from utils.catalog import VOC_CLASSES
from utils.cli import main
from utils.images import read_label, write_label_png
from utils.metrics import ThresholdScores, cam_histogram
from utils.multi_scale import cams_of_image, scaled_images, scaled_sizes
from utils.options import ScoreOptions, TrainOptions
from utils.parallel import parallel_map
from utils.paths import atomic_path

NUM_TAGS = 2
TOLERANCE = 1e-3  # of float32 CAMs, which are in 0..1: a quarter of their 8-bit step


@dataclass(frozen=True)
class BenchmarkOptions:
    """Compare this project's way with the plain way on this machine."""

    only: Literal["cams", "scoring"] | None = None
    """One section; default all of them."""
    width: float = 1.0
    """Multiplier of the channels of ResNet-38."""
    size: tuple[int, int] = (375, 500)
    """Height and width of the images, pixels."""
    scales: tuple[float, ...] = TrainOptions.cam_scales
    """Factors on the image's size; every scale is used plain and mirrored."""
    images: int = 200
    """Images that are scored."""
    repeats: int = 2
    """Measurements of each way, taken in turns; their median counts."""
    seed: int = 0
    """Weights, images and CAMs follow from it."""
    out: str | None = None
    """A JSON file that the rows are also written to."""

    def __post_init__(self) -> None:
        for name in ("width", "images", "repeats"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        if min(self.size) <= 0 or not self.scales or min(self.scales) <= 0:
            raise ValueError(f"size={self.size}, scales={self.scales}: all must be above 0, and one scale be there")


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of both ways and their ratio; a rate has `ours` alone; None is what was not measured.

    The ratio, or without one `ours`, has to reach `at_least` or stay under `below`.
    """

    what: str
    ours: float | None = None
    plain: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    below: float | None = None
    note: str = ""

    @property
    def required(self) -> str:
        return f"under {self.below:g}" if self.at_least is None else f"at least {self.at_least:g}"

    @property
    def verdict(self) -> str:
        """met, missed, or not measured."""
        value = self.ours if self.ratio is None else self.ratio
        if value is None:
            return "not measured"
        return "met" if (value < self.below if self.at_least is None else value >= self.at_least) else "missed"


def run(options: BenchmarkOptions) -> list[Row]:
    """Measures the sections, prints a table and, with --out, writes it as JSON."""
    rows = []
    for name, section in SECTIONS.items():
        if options.only in (None, name):
            print(f"measuring {name} …", file=sys.stderr)
            rows += section(options)
    print_table(rows)
    if options.out:
        write_rows(Path(options.out), options, rows)
    return rows


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds and last result of each way; in turns, so that a machine that slows down slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - start)
            print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


def measure_cams(options: BenchmarkOptions) -> list[Row]:
    """CAMs of one image by the published best network, random weights. RuntimeError if both ways disagree."""
    torch.manual_seed(options.seed)
    published_best = {"attention": "se", "suppression": "learnable"}
    plain_net = build_cam_net("resnet38", len(VOC_CLASSES), width=options.width, **published_best).eval()
    net = copy.deepcopy(plain_net).to(memory_format=torch.channels_last)
    image = torch.from_numpy(blobs(np.random.default_rng(options.seed), 3, options.size))
    keys = strongest_classes(plain_net, image)
    ours = partial(cams_of_image, net, image, keys, mean=net.mean, std=net.std)
    ours(scales=options.scales[:1])  # warms up
    ways = {
        "CAMs, ours, float32": partial(ours, scales=options.scales),
        "CAMs, plain": partial(plain_cams, plain_net, image, keys, scales=options.scales),
    }
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        ours(scales=options.scales[:1], amp="bf16")
        ways["CAMs, ours, bf16"] = partial(ours, scales=options.scales, amp="bf16")
    seconds, cams = in_turns(ways, options.repeats)
    difference = {name: (cams[name] - cams["CAMs, plain"]).abs().max().item() for name in ways}
    if not difference["CAMs, ours, float32"] < TOLERANCE:
        raise RuntimeError(f"the CAMs of both ways differ by {difference['CAMs, ours, float32']}: above {TOLERANCE}")

    def row(name: str, at_least: float) -> Row:
        if name not in ways:
            return Row(name, at_least=at_least, note="not on this CPU")
        ours, plain = seconds[name], seconds["CAMs, plain"]
        return Row(name, ours, plain, plain / ours, at_least=at_least, note=f"differ by {difference[name]:.1e}")

    return [row("CAMs, ours, float32", 1.2), row("CAMs, ours, bf16", 2.5)]


@torch.inference_mode()
def strongest_classes(net: CamNet, image: Tensor) -> list[int]:
    """The tags of a network with random weights: most classes have no positive pixel, which would compare zeros."""
    maps = raw_map(net, scaled_images(image[None], scaled_sizes(image.shape[1:], [0.5])[0]))
    return maps[0, :-1].amax((1, 2)).topk(NUM_TAGS).indices.tolist()


def raw_map(net: CamNet, image: Tensor) -> Tensor:
    """The network with the pixel correlation in its published order: it moves conv6, not the few class maps."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (net.mean, net.std))
    image = (image - mean) / std
    features = net.features(image)
    embedding = net.embed(image, features).flatten(2)
    embedding = embedding / (torch.linalg.vector_norm(embedding, dim=1, keepdim=True) + 1e-5)
    affinity = (embedding.transpose(1, 2) @ embedding).relu_()
    affinity = affinity / (affinity.sum(1, keepdim=True) + 1e-5)
    moved = (features.conv6.flatten(2) @ affinity).view_as(features.conv6)
    return net.fc8(features.conv6) + net.fc8(moved)


@torch.inference_mode()
def plain_cams(net: CamNet, image: Tensor, keys: Sequence[int], *, scales: Sequence[float]) -> Tensor:
    """As cams_of_image, the plainest way: one view at a time, every class brought to full size. -> (K, H, W)."""
    full = []
    for size in scaled_sizes(image.shape[1:], scales):
        view = scaled_images(image[None], size)
        for maps in (raw_map(net, view), raw_map(net, view.flip(-1)).flip(-1)):
            full.append(F.interpolate(maps, tuple(image.shape[1:]), mode="bicubic", align_corners=False)[0])
    merged = torch.stack(full).mean(0)[:-1].relu()
    return (merged / merged.amax((1, 2), keepdim=True).clamp(min=ZERO))[list(keys)]


def measure_scoring(options: BenchmarkOptions) -> list[Row]:
    """CAM artefacts against masks: all thresholds against one, and the rate, in one process."""
    thresholds = ScoreOptions().thresholds
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_artefacts(Path(folder), options)
        score_files(pairs[:1], thresholds)  # warms up
        ways = {f"scoring, {len(t)} thresholds": partial(score_files, pairs, t) for t in (thresholds, thresholds[:1])}
        seconds = list(in_turns(ways, options.repeats)[0].values())
    return [
        Row(f"scoring, {len(thresholds)} thresholds against 1", *seconds, seconds[0] / seconds[1], below=1.5),
        Row("scoring, images a second a core", len(pairs) / seconds[0], at_least=30),
    ]


def score_files(pairs: Sequence[tuple[Path, Path]], thresholds: tuple[float, ...]) -> list[float]:
    """mIoU at each threshold, in this process, as each worker of scripts/score_cams.py counts."""
    totals = ThresholdScores(len(VOC_CLASSES) + 1, thresholds)
    for keys, histogram in parallel_map(partial(_count, thresholds=thresholds), pairs, num_workers=1):
        totals.add(keys, histogram)
    return [scores.mean_iou for scores in totals.scores()]


def _count(pair: tuple[Path, Path], *, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    (keys, cams), mask = read_cam(pair[0]), read_label(pair[1])
    return keys, cam_histogram(keys, cams, mask, num_labels=len(VOC_CLASSES) + 1, thresholds=thresholds)


def write_artefacts(folder: Path, options: BenchmarkOptions) -> list[tuple[Path, Path]]:
    """CAMs of one to three classes an image, and masks that resemble them."""
    rng, pairs = np.random.default_rng(options.seed), []
    for index in range(options.images):
        keys = rng.choice(len(VOC_CLASSES), size=rng.choice(3, p=(0.6, 0.3, 0.1)) + 1, replace=False)
        pairs.append((folder / f"{index}.npz", folder / f"{index}.png"))
        write_cam(pairs[-1][0], keys, blobs(rng, len(keys), options.size))
        write_label_png(pairs[-1][1], to_label(keys, blobs(rng, len(keys), options.size), 0.5))
    return pairs


def blobs(rng: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """(count, H, W) uint8 of smooth hills, from 0 to 255."""
    coarse = rng.random((count, 6, 8), dtype=np.float32)
    smooth = [cv2.resize(c, size[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse]
    return to_uint8(np.stack([(s - s.min()) / (s.max() - s.min()) for s in smooth]))


def print_table(rows: Sequence[Row]) -> None:
    print(f"{'what':<36}{'ours':>10}{'plain':>10}{'ratio':>8}  {'required':<14}")
    for row in rows:
        ours, plain, ratio = ("-" if v is None else f"{v:.2f}" for v in (row.ours, row.plain, row.ratio))
        print(f"{row.what:<36}{ours:>10}{plain:>10}{ratio:>8}  {row.required:<14} {row.verdict:<14}{row.note}".rstrip())


def write_rows(path: Path, options: BenchmarkOptions, rows: Sequence[Row]) -> None:
    listed = [{**asdict(row), "required": row.required, "verdict": row.verdict} for row in rows]
    content = {"options": asdict(options), "threads": torch.get_num_threads(), "rows": listed}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


SECTIONS: dict[str, Callable[[BenchmarkOptions], list[Row]]] = {"cams": measure_cams, "scoring": measure_scoring}


if __name__ == "__main__":
    main(BenchmarkOptions, run)
