"""Compare this project's way with the plain way on this machine, in one run: python scripts/benchmark.py.

Ratios say the same on fast and slow machines. Nothing else should run meanwhile; the full size takes minutes.
"""

import copy
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only

from models.cam_net import CamNet, build_cam_net
from models.l2g import cut_patches
from models.resnet38 import ResNet38Cam
from utils.cam import ZERO, read_cam, to_label, write_cam
from utils.catalog import VOC_CLASSES
from utils.cli import main
from utils.copy_paste import Paster, paste
from utils.foreground_bank import ForegroundBank, write_foreground, write_index
from utils.image_list import ImageEntry
from utils.images import read_label, write_image, write_label_png
from utils.l2g_data import PLAIN, TWIN, L2GDataset
from utils.measuring import Row, in_turns, print_table, write_rows
from utils.metrics import ThresholdScores, cam_histogram
from utils.multi_scale import cams_of_image, scaled_images, scaled_sizes
from utils.options import ScoreOptions, TrainOptions
from utils.parallel import parallel_map
from utils.plain_ways import blobs, plain_paste, scene_with_object

NUM_TAGS = 2
TOLERANCE = 1e-3  # of float32 CAMs, which are in 0..1: a quarter of their 8-bit step


@dataclass(frozen=True)
class BenchmarkOptions:
    """Compare this project's way with the plain way on this machine."""

    only: Literal["cams", "scoring", "pasting", "samples"] | None = None
    """One section; default all of them."""
    width: float = 1.0
    """Multiplier of the channels of ResNet-38."""
    size: tuple[int, int] = (375, 500)
    """Height and width of the images, pixels."""
    scales: tuple[float, ...] = TrainOptions.cam_scales
    """Factors on the image's size; every scale is used plain and mirrored."""
    images: int = 200
    """Images that are scored."""
    object_size: tuple[int, int] = (300, 400)
    """Height and width of the foregrounds that are pasted, pixels."""
    input_size: int = 448
    """Side of the training crop, pixels; resize and patches follow in the published proportions."""
    pastes: int = 50
    """Pastes, and training samples, that are timed."""
    repeats: int = 2
    """Measurements of each way, taken in turns; their median counts."""
    seed: int = 0
    """Weights, images and CAMs follow from it."""
    out: str | None = None
    """A JSON file that the rows are also written to."""

    def __post_init__(self) -> None:
        for name in ("width", "images", "repeats", "input_size", "pastes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        if min(self.size) <= 0 or not self.scales or min(self.scales) <= 0:
            raise ValueError(f"size={self.size}, scales={self.scales}: all must be above 0, and one scale be there")


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


def measure_pasting(options: BenchmarkOptions) -> list[Row]:
    """CDA+ pastes against the same done pixel by pixel. RuntimeError if both ways disagree."""
    image, saliency, foreground = scene_with_object(
        np.random.default_rng(options.seed), options.size, options.object_size
    )
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(options.pastes):
        few = number < max(1, options.pastes // 10)  # the plain way takes long, and hardly varies
        ways = {"ours": paste, **({"plain": plain_paste} if few else {})}
        ways = {
            name: partial(way, image, saliency, foreground, max_overlap=0.2, rng=np.random.default_rng(number))
            for name, way in ways.items()
        }
        times, results = in_turns(ways, 1, verbose=False)
        for name, value in times.items():
            seconds[name].append(value)
        if few and not all(np.array_equal(*pair) for pair in zip(results["ours"], results["plain"])):
            raise RuntimeError(f"both ways of pasting differ at paste {number}")
    ours, plain = (statistics.median(values) for values in seconds.values())
    return [
        Row("CDA+ paste", ours, plain, plain / ours, at_least=100),
        Row("CDA+ paste, milliseconds", 1000 * ours, below=5),
    ]


def measure_samples(options: BenchmarkOptions) -> list[Row]:
    """Training samples a second in one process: image, pasted twin, and the patches of both cut out."""
    published = TrainOptions()
    with tempfile.TemporaryDirectory() as folder, one_thread():
        data = write_training_data(Path(folder), options, published)
        sample_with_twin(data, 0)  # warms up
        seconds = [
            in_turns({"": partial(sample_with_twin, data, i)}, 1, verbose=False)[0][""] for i in range(len(data))
        ]
    rate = 1 / statistics.median(seconds)
    return [Row("training samples a second a core", rate, at_least=12, note="image, twin, patches")]


def sample_with_twin(data: L2GDataset, index: int) -> list[Tensor]:
    samples = [data[0, index, kind] for kind in (PLAIN, TWIN)]
    return [cut_patches(sample["images"][None], sample["boxes"][None]) for sample in samples]


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a loader's worker: one thread for torch and OpenCV."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def write_training_data(folder: Path, options: BenchmarkOptions, published: TrainOptions) -> L2GDataset:
    """A data set and a bank of foregrounds, as CDA+ with the published settings reads them."""
    image, saliency, foreground = scene_with_object(
        np.random.default_rng(options.seed), options.size, options.object_size
    )
    entries = [ImageEntry(str(index), (index % 19 + 1,)) for index in range(options.pastes)]
    for entry in entries:
        write_image(folder / "images" / f"{entry.name}.jpg", np.roll(image, int(entry.name), axis=1))
        write_image(folder / "saliency" / f"{entry.name}.png", saliency)
    write_index(folder / "bank", [write_foreground(folder / "bank", foreground, VOC_CLASSES[0], agreement=1.0)])
    bank = ForegroundBank.open(folder / "bank", VOC_CLASSES)
    scale = options.input_size / published.input_size
    return L2GDataset(
        entries,
        folder / "images",
        folder / "saliency",
        num_classes=len(VOC_CLASSES),
        resize=round(published.resize * scale),
        resize_mode=published.resize_mode,
        input_size=options.input_size,
        crop_size=round(published.crop_size * scale),
        num_patches=published.num_patches,
        corner_patches=published.corner_patches,
        color_jitter=published.color_jitter,
        flip=published.flip,
        mean=ResNet38Cam.mean,
        std=ResNet38Cam.std,
        seed=options.seed,
        paster=Paster(bank, len(VOC_CLASSES), max_overlap=published.cda_tr),
    )


SECTIONS: dict[str, Callable[[BenchmarkOptions], list[Row]]] = {
    "cams": measure_cams,
    "scoring": measure_scoring,
    "pasting": measure_pasting,
    "samples": measure_samples,
}


if __name__ == "__main__":
    main(BenchmarkOptions, run)
