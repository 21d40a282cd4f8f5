"""Compare this project's hot paths with plain implementations on this machine: python3 scripts/benchmark.

Ratios are comparable between machines. Nothing else should run at the same time. The full size takes minutes.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # when run by path, Python only searches this folder
    from utils.config.options.benchmark import BenchmarkOptions
    from utils.config.program import main

    main(BenchmarkOptions, "scripts.benchmark.__main__")

import copy
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import yaml
from torch import Tensor

from models.cam_net import CamNet, build_cam_net
from models.folding import fold_norms
from scripts.benchmark.floors import cam_tflop, decoding_seconds, gemm_tflops
from scripts.benchmark.hot_paths import (
    measure_crf,
    measure_labels,
    measure_pasting,
    measure_samples,
    measure_scoring,
    write_photos,
)
from scripts.benchmark.measuring import Row, in_turns, print_table, write_rows
from scripts.benchmark.plain_ways import blobs, plain_merge, scene_with_object
from scripts.benchmark.programs import measure_programs
from scripts.benchmark.scale import measure_scale
from utils.cam.labels import to_label
from utils.cam.merging import merge_scales
from utils.cam.multi_scale import cams_of_image, scaled_images, scaled_sizes
from utils.config.options.benchmark import BenchmarkOptions
from utils.data.catalog import IMAGE_FOLDER, MASK_FOLDER, TRAIN_TAGS, VOC_CLASSES
from utils.data.image_list import write_image_list
from utils.data.images import write_label_png
from utils.files.atomic import write_lines
from utils.files.locate import PROJECT_ROOT
from utils.runs.segmentation import notes_kept

NUM_TAGS = 2
SEGMENTATION_PRESET = PROJECT_ROOT / "deeplabv2" / "configs" / "voc_light.yaml"
TOLERANCE = 1e-3  # for float32 CAMs in 0..1: a quarter of their 8-bit step


def run(options: BenchmarkOptions) -> list[Row]:
    """Measure the sections, print a table and, with --out, write it as JSON."""
    rows = []
    for name, section in SECTIONS.items():
        if options.only == name or (options.only is None and name != "scale"):
            print(f"measuring {name} …", file=sys.stderr)
            rows += section(options)
    print_table(rows)
    if options.out:
        write_rows(Path(options.out), options, rows)
    return rows


def measure_cams(options: BenchmarkOptions) -> list[Row]:
    """Time the CAMs of one image with the best published network and random weights. RuntimeError if results differ."""
    torch.manual_seed(options.seed)
    plain_net = build_cam_net(
        "resnet38", len(VOC_CLASSES), width=options.width, attention="se", suppression="learnable"
    ).eval()
    net = copy.deepcopy(plain_net).to(memory_format=torch.channels_last)
    fold_norms(net)
    image = torch.from_numpy(blobs(np.random.default_rng(options.seed), 3, options.size))
    keys = strongest_classes(plain_net, image)
    ours = partial(cams_of_image, net, image, keys, mean=net.mean, std=net.std)
    ours(scales=options.scales[:1])  # warm-up
    variants = {
        "CAMs, ours, float32": partial(ours, scales=options.scales),
        "CAMs, plain": partial(plain_cams, plain_net, image, keys, scales=options.scales),
    }
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        ours(scales=options.scales[:1], amp="bf16")
        variants["CAMs, ours, bf16"] = partial(ours, scales=options.scales, amp="bf16")
    seconds, cams = in_turns(variants, options.repeats)
    difference = {name: (cams[name] - cams["CAMs, plain"]).abs().max().item() for name in variants}
    if not difference["CAMs, ours, float32"] < TOLERANCE:
        raise RuntimeError(f"the CAMs of both differ by {difference['CAMs, ours, float32']}: above {TOLERANCE}")

    tflop = cam_tflop(plain_net, options.size, scales=options.scales)

    def row(name: str, amp: str, at_least: float) -> Row:
        if name not in variants:
            return Row(name, at_least=at_least, note="not supported by this CPU")
        ours, plain = seconds[name], seconds["CAMs, plain"]
        note, rate = f"differ by {difference[name]:.1e}", gemm_tflops(amp)
        floor_is = f"{tflop:.3g} TFLOP at the GEMM rate, {rate:.3g} TFLOP per second"
        return Row(name, ours, plain, plain / ours, at_least=at_least, note=note, floor=tflop / rate, floor_is=floor_is)

    return [row("CAMs, ours, float32", "off", 1.2), row("CAMs, ours, bf16", "bf16", 2.5), _merging(options)]


def _merging(options: BenchmarkOptions) -> Row:
    """Time resizing and merging the maps of all views of an image. RuntimeError if results differ."""
    generator = torch.Generator().manual_seed(options.seed)
    sizes = scaled_sizes(options.size, options.scales)
    maps = [
        torch.randn(len(VOC_CLASSES) + 1, -(-height // 8), -(-width // 8), generator=generator)
        for height, width in sizes
        for _ in range(2)
    ]
    size, keys = (options.size[0], options.size[1]), list(range(NUM_TAGS))
    seconds, merged = in_turns(
        {"ours": lambda: merge_scales(maps, size, keys=keys), "plain": lambda: plain_merge(maps, size, keys)},
        3 * options.repeats,
        verbose=False,
    )
    if not (merged["ours"] - merged["plain"]).abs().max() < TOLERANCE:
        raise RuntimeError("both implementations of merging differ")
    ours, plain = seconds.values()
    return Row("merging the maps of all views", ours, plain, plain / ours, at_least=4, note="all classes are resized")


@torch.inference_mode()
def strongest_classes(net: CamNet, image: Tensor) -> list[int]:
    """Select tags for random weights: most classes have no positive pixel, and comparing zeros is useless."""
    maps = raw_map(net, scaled_images(image[None], scaled_sizes(image.shape[1:], [0.5])[0]))
    return maps[0, :-1].amax((1, 2)).topk(NUM_TAGS).indices.tolist()


def raw_map(net: CamNet, image: Tensor) -> Tensor:
    """Run the network with the published order of the pixel correlation: on conv6 instead of the few class maps."""
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
    """Like cams_of_image, implemented plainly: one view at a time, every class resized to full size. -> (K, H, W)."""
    size = (image.shape[1], image.shape[2])
    views = [scaled_images(image[None], scaled) for scaled in scaled_sizes(size, scales)]
    return plain_merge([raw_map(net, side)[0] for view in views for side in (view, view.flip(-1))], size, keys)


def measure_segmentation(options: BenchmarkOptions) -> list[Row]:
    """Measure images per second of `deeplabv2/main.py test`, as it records them, with the untrained light network."""
    program = [sys.executable, str(PROJECT_ROOT / "deeplabv2" / "main.py")]
    with notes_kept(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = write_segmentation_data(folder, options)
        for command in ("train", "test"):
            done = subprocess.run([*program, command, *settings], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"main.py {command}: {done.stderr}")
        scores = json.loads((folder / "out" / "scores" / "speed" / "scores.json").read_text())
        floor = segmentation_floor(program, settings, folder, options.size)
    note = f"EfficientNet-Lite0, {torch.get_num_threads()} threads"
    floor_is = "the network at the GEMM rate, and decoding the JPEG"
    rate = scores["images_per_second"]
    return [Row("segmentation test, images per second", rate, note=note, floor_of_rate=1 / floor, floor_is=floor_is)]


def segmentation_floor(program: Sequence[str], settings: Sequence[str], folder: Path, size: tuple[int, int]) -> float:
    """Return seconds per image: the network's arithmetic at the GEMM rate, and decoding the JPEG."""
    plan, side = folder / "plan.json", 321
    flags = ["--plan", f"--plan_json={plan}", "--plan_tflops=1", f"--IMAGE.SIZE.TRAIN={side}"]
    done = subprocess.run([*program, "train", *settings, *flags], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"main.py train --plan: {done.stderr}")
    planned = json.loads(plan.read_text())
    per_pixel = planned["tflop_forward"] / planned["batch_size"] / side**2
    longer = yaml.safe_load(SEGMENTATION_PRESET.read_text())["IMAGE"]["SIZE"]["BASE"]  # of the images it sees
    seen = size[0] * size[1] * (longer / max(size)) ** 2
    decoding = decoding_seconds(sorted((folder / IMAGE_FOLDER).iterdir()))
    return per_pixel * seen / gemm_tflops(planned["amp"]) + decoding


def write_segmentation_data(folder: Path, options: BenchmarkOptions) -> list[str]:
    """Write photographs with masks and a list. Returns the flags that train one step on them."""
    image, saliency, _ = scene_with_object(options.seed, options.size, options.object_size)
    entries = write_photos(folder, image, saliency, max(8, options.pastes // 2))
    for entry in entries:
        write_label_png(folder / MASK_FOLDER / f"{entry.name}.png", to_label(entry.tags, saliency[None], 0.5))
    write_lines(folder / "list.txt", (entry.name for entry in entries))
    write_lines(folder / "classes.txt", VOC_CLASSES)
    write_image_list(folder / TRAIN_TAGS, entries)
    values = {
        "config-path": SEGMENTATION_PRESET,
        "EXP.ID": "speed",
        "EXP.OUTPUT_DIR": folder / "out",
        "DATASET.ROOT": folder,
        "DATASET.LABEL_DIR": folder / MASK_FOLDER,
        "DATASET.SPLIT.TRAIN": folder / "list.txt",
        "DATASET.SPLIT.VAL": folder / "list.txt",
        # training is not measured
        "SOLVER.ITER_MAX": 1,
        "SOLVER.BATCH_SIZE.TRAIN": 2,
        "IMAGE.SIZE.TRAIN": 65,
    }
    return [f"--{name}={value}" for name, value in values.items()]


SECTIONS: dict[str, Callable[[BenchmarkOptions], list[Row]]] = {
    "cams": measure_cams,
    "scoring": lambda o: measure_scoring(images=o.images, size=o.size, repeats=o.repeats, seed=o.seed),
    "labels": lambda o: measure_labels(images=o.images, size=o.size, repeats=o.repeats, seed=o.seed),
    "programs": lambda o: measure_programs(images=o.images, size=o.size, repeats=o.repeats, seed=o.seed),
    "pasting": lambda o: measure_pasting(size=o.size, object_size=o.object_size, pastes=o.pastes, seed=o.seed),
    "samples": lambda o: measure_samples(
        size=o.size, object_size=o.object_size, input_size=o.input_size, samples=o.pastes, seed=o.seed
    ),
    "crf": lambda o: measure_crf(size=o.size, repeats=o.repeats, seed=o.seed),
    "segmentation": measure_segmentation,
    "scale": lambda o: measure_scale(o.dataset_sizes, o.stages, seed=o.seed),
}
