"""Benchmarks of the hot paths without a network: scoring, labels, pasting, training samples, the dense CRF."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from scripts.benchmark.floors import copying_seconds, decoding_seconds, png_seconds, unpacking_seconds
from scripts.benchmark.measuring import Row, in_turns
from scripts.benchmark.plain_ways import (
    blobs,
    plain_label,
    plain_paste,
    plain_sweep,
    scene_with_labels,
    scene_with_object,
)
from utils.cam.artefact import read_cam, write_cam
from utils.cam.labels import to_label
from utils.config.options import ScoreOptions, TrainOptions
from utils.copy_paste.bank import Foreground, ForegroundBank, write_foreground, write_index
from utils.copy_paste.pasting import Pasted, Paster, paste
from utils.crf.competing import crf_label
from utils.crf.dense import dense_crf
from utils.crf.original import check_backend, pydensecrf
from utils.crf.strengths import DEEPLAB_CRF
from utils.data.catalog import IMAGE_FOLDER, SALIENCY_FOLDER, VOC_CLASSES
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, write_image, write_label_png
from utils.files.disk import make_folder
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of
from utils.l2g_samples import PLAIN, TWIN, L2GDataset, SampleRecipe
from utils.metrics import ThresholdScores, cam_histogram

READ_FOR_A_SAMPLE = (IMAGE_FOLDER, SALIENCY_FOLDER)


def measure_scoring(*, images: int, size: tuple[int, int], repeats: int, seed: int) -> list[Row]:
    """Time scoring CAM files in one process: all thresholds against one, and against reading the files for each."""
    thresholds = ScoreOptions().thresholds
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_artefacts(Path(folder), images=images, size=size, seed=seed)
        score_files(pairs[:1], thresholds)  # warm-up
        variants = {
            f"scoring, {len(t)} thresholds": partial(score_files, pairs, t) for t in (thresholds, thresholds[:1])
        }
        all_of_them, one = in_turns(variants, repeats)[0].values()
        few = pairs[: max(1, images // 40)]  # the plain implementation is slow and hardly varies
        plain, scores = in_turns({"": partial(plain_sweep, few, thresholds, len(VOC_CLASSES) + 1)}, 1, verbose=False)
        if not np.allclose(scores[""], score_files(few, thresholds), atol=1e-9):
            raise RuntimeError("both implementations of the sweep differ")
        cams, masks = zip(*pairs)
        floor = unpacking_seconds(cams) + decoding_seconds(masks)
    rate, rate_of_plain = len(pairs) / all_of_them, len(few) / plain[""]
    return [
        Row(f"scoring, {len(thresholds)} thresholds against 1", all_of_them, one, all_of_them / one, below=1.5),
        Row(
            "scoring, images per second per core",
            rate,
            rate_of_plain,
            rate / rate_of_plain,
            at_least=20,
            note=f"{rate:.0f} images per second",
            floor_of_rate=1 / floor,
            floor_is="decompressing the CAMs, decoding the mask's PNG",
        ),
    ]


def measure_labels(*, images: int, size: tuple[int, int], repeats: int, seed: int) -> list[Row]:
    """Time labels from CAM files against labels from a grey PNG per tag. RuntimeError if they differ."""
    threshold = 0.35
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cams = [path for path, _ in write_artefacts(folder / "cam", images=images, size=size, seed=seed)]
        maps = {path: write_maps(path, folder / "attention") for path in cams}
        make_folder(folder / "plain")

        def ours() -> None:
            for path in cams:
                label = to_label(*read_cam(path), threshold)
                write_label_png(folder / "ours" / f"{path.stem}.png", label, made_from=digest_of(path))

        def plain() -> None:
            for path in cams:
                plain_label(maps[path], folder / "plain" / f"{path.stem}.png", threshold, len(VOC_CLASSES) + 1)

        seconds = in_turns({"labels, ours": ours, "labels, plain": plain}, repeats)[0].values()
        labels = [read_label(folder / "ours" / f"{path.stem}.png") for path in cams]
        same = [read_label(folder / "plain" / f"{path.stem}.png") for path in cams]
        if not all(np.array_equal(*pair) for pair in zip(labels, same)):
            raise RuntimeError("both implementations of labels differ")
        floor = unpacking_seconds(cams) + png_seconds(labels)
    own, other = (value / images for value in seconds)
    floor_is = "decompressing the CAMs, encoding the label's PNG"
    return [Row("label of an image", own, other, other / own, at_least=3, floor=floor, floor_is=floor_is)]


def write_maps(path: Path, folder: Path) -> list[tuple[int, Path]]:
    """Write the CAMs of a file as grey PNGs. Returns (zero-based class, file) of each."""
    found = []
    for key, plane in zip(*read_cam(path)):
        found.append((int(key), folder / f"{path.stem}_{key}.png"))
        write_image(found[-1][1], plane)
    return found


def score_files(pairs: Sequence[tuple[Path, Path]], thresholds: tuple[float, ...]) -> list[float]:
    """Compute the mIoU at each threshold in this process, like each worker of scripts/score_cams.py."""
    totals = ThresholdScores(len(VOC_CLASSES) + 1, thresholds)
    for keys, histogram in parallel_map(partial(_count, thresholds=thresholds), pairs, num_workers=1):
        totals.add(keys, histogram)
    return [scores.mean_iou for scores in totals.scores()]


def _count(pair: tuple[Path, Path], *, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    (keys, cams), mask = read_cam(pair[0]), read_label(pair[1])
    return keys, cam_histogram(keys, cams, mask, num_labels=len(VOC_CLASSES) + 1, thresholds=thresholds)


def write_artefacts(folder: Path, *, images: int, size: tuple[int, int], seed: int) -> list[tuple[Path, Path]]:
    """Write CAMs of one to three classes per image, and masks that resemble them."""
    rng, pairs = np.random.default_rng(seed), []
    for index in range(images):
        keys = np.sort(rng.choice(len(VOC_CLASSES), size=rng.choice(3, p=(0.6, 0.3, 0.1)) + 1, replace=False))
        pairs.append((folder / f"{index}.npz", folder / f"{index}.png"))
        write_cam(pairs[-1][0], keys, blobs(rng, len(keys), size))
        write_label_png(pairs[-1][1], to_label(keys, blobs(rng, len(keys), size), 0.5))
    return pairs


def measure_pasting(*, size: tuple[int, int], object_size: tuple[int, int], pastes: int, seed: int) -> list[Row]:
    """Time CDA+ pastes against a pixel-by-pixel implementation. RuntimeError if results differ."""
    image, saliency, foreground = scene_with_object(seed, size, object_size)
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(pastes):
        few = number < max(1, pastes // 10)  # the plain implementation is slow and hardly varies
        variants: dict[str, Callable[..., Pasted]] = {"ours": paste, **({"plain": plain_paste} if few else {})}
        calls = {
            name: partial(variant, image, saliency, foreground, max_overlap=0.2, rng=np.random.default_rng(number))
            for name, variant in variants.items()
        }
        times, results = in_turns(calls, 1, verbose=False)
        for name, value in times.items():
            seconds[name].append(value)
        if few and not all(np.array_equal(*pair) for pair in zip(results["ours"], results["plain"])):
            raise RuntimeError(f"both implementations of pasting differ at paste {number}")
    ours, plain = (statistics.median(values) for values in seconds.values())
    return [
        Row("CDA+ paste", ours, plain, plain / ours, at_least=100),
        Row("CDA+ paste, milliseconds", 1000 * ours, below=5),
    ]


def measure_samples(
    *, size: tuple[int, int], object_size: tuple[int, int], input_size: int, samples: int, seed: int
) -> list[Row]:
    """Measure training samples per second in one process: image, pasted twin, and the patches of both."""
    with tempfile.TemporaryDirectory() as folder, one_thread():
        image, saliency, foreground = scene_with_object(seed, size, object_size)
        bank = write_bank(Path(folder) / "bank", foreground)
        entries = write_photos(Path(folder), image, saliency, samples)
        data = published_samples(Path(folder), entries, bank, input_size=input_size, seed=seed)
        sample_with_twin(data, 0)  # warm-up
        variants = [{"": partial(sample_with_twin, data, index)} for index in range(samples)]
        seconds = [in_turns(variant, 1, verbose=False)[0][""] for variant in variants]
        floor = sum(decoding_seconds(sorted((Path(folder) / part).iterdir())) for part in READ_FOR_A_SAMPLE)
    rate = 1 / statistics.median(seconds)
    return [
        Row(
            "training samples per second per core",
            rate,
            at_least=12,
            note="image, twin, patches",
            floor_of_rate=1 / floor,
            floor_is="decoding the JPEG and the saliency's PNG once",
        )
    ]


def sample_with_twin(data: L2GDataset, index: int) -> list[Tensor]:
    """Return the patches (P, 3, s, s) of an image and of its twin."""
    samples = [data[0, index, kind] for kind in (PLAIN, TWIN)]
    return [
        torch.stack([sample["images"][:, y0:y1, x0:x1] for x0, y0, x1, y1 in sample["boxes"].tolist()])
        for sample in samples
    ]


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for torch and OpenCV, as in a worker of the data loader."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def write_photos(folder: Path, image: np.ndarray, saliency: np.ndarray, count: int) -> list[ImageEntry]:
    """Write `count` photographs and saliency maps in a dataset's layout, each with one class other than the first."""
    entries = [ImageEntry(str(index), (index % (len(VOC_CLASSES) - 1) + 1,)) for index in range(count)]
    for entry in entries:
        write_image(folder / IMAGE_FOLDER / f"{entry.name}.jpg", np.roll(image, int(entry.name), axis=1))
        write_image(folder / SALIENCY_FOLDER / f"{entry.name}.png", saliency)
    return entries


def write_bank(folder: Path, foreground: Foreground) -> ForegroundBank:
    """Write a bank of one object of the first class."""
    write_index(folder, [write_foreground(folder, foreground, VOC_CLASSES[foreground.tag], agreement=1.0)])
    return ForegroundBank.open(folder, VOC_CLASSES)


def published_samples(
    folder: Path, entries: list[ImageEntry], bank: ForegroundBank, *, input_size: int, seed: int
) -> L2GDataset:
    """Build the samples of CDA+ with the published settings, scaled proportionally for another input_size."""
    published = TrainOptions()
    scale = input_size / published.input_size
    same = ("resize_mode", "num_patches", "corner_patches", "color_jitter", "flip")
    recipe = SampleRecipe(
        num_classes=len(VOC_CLASSES),
        resize=round(published.resize * scale),
        input_size=input_size,
        crop_size=round(published.crop_size * scale),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        seed=seed,
        **{name: getattr(published, name) for name in same},
    )
    paster = Paster(bank, max_overlap=published.cda_tr)
    return L2GDataset(entries, folder / IMAGE_FOLDER, folder / SALIENCY_FOLDER, recipe, paster=paster)


def measure_crf(*, size: tuple[int, int], repeats: int, seed: int) -> list[Row]:
    """Measure CPU seconds of the dense CRF over all labels and over the competing ones, and of pydensecrf over all.

    The parameters are the published ones.
    """
    check_backend("pydensecrf")
    image, probabilities = scene_with_labels(seed, size, len(VOC_CLASSES) + 1)
    with one_thread():
        dense_crf(image[:9, :9], probabilities[:8, :9, :9], **DEEPLAB_CRF)  # compiles the filters
        variants: dict[str, Callable[[], np.ndarray]] = {
            "CRF, competing labels": partial(crf_label, image, probabilities, **DEEPLAB_CRF),
            "CRF, all labels": lambda: dense_crf(image, probabilities, **DEEPLAB_CRF).argmax(axis=0),
            "CRF, all labels, pydensecrf": lambda: pydensecrf(image, probabilities, **DEEPLAB_CRF).argmax(axis=0),
        }
        seconds, labels = in_turns(variants, repeats, clock=time.process_time)
    ours, whole, library = seconds.values()
    own, *others = labels.values()
    iterations, winners = DEEPLAB_CRF["iterations"], probabilities[np.unique(own)]
    few, many = (copying_seconds(maps, iterations) for maps in (winners, probabilities))
    floor_is = "copying the labels' maps once per iteration"
    return [
        Row("CRF, competing labels against all", ours, whole, whole / ours, at_least=3, floor=few, floor_is=floor_is),
        Row("CRF, the same against pydensecrf", ours, library, library / ours, at_least=3),
        Row(
            "CRF, all labels against pydensecrf",
            whole,
            library,
            library / whole,
            at_least=1,
            floor=many,
            floor_is=floor_is,
        ),
        Row("CRF, % of equal pixels", 100 * min(float(np.mean(own == other)) for other in others), at_least=99.9),
    ]
