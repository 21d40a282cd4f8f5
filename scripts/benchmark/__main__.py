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
import torch.nn.functional as F
from torch import Tensor

from models.cam_net import CamNet, build_cam_net
from scripts.benchmark.hot_paths import measure_crf, measure_pasting, measure_samples, measure_scoring, write_photos
from scripts.benchmark.measuring import Row, in_turns, print_table, write_rows
from scripts.benchmark.plain_ways import blobs, scene_with_object
from utils.cam.labels import to_label
from utils.cam.merging import ZERO
from utils.cam.multi_scale import cams_of_image, scaled_images, scaled_sizes
from utils.config.options.benchmark import BenchmarkOptions
from utils.data.catalog import MASK_FOLDER, VOC_CLASSES
from utils.data.images import write_label_png
from utils.files.atomic import write_lines
from utils.files.locate import PROJECT_ROOT
from utils.runs.segmentation import notes_kept

NUM_TAGS = 2
TOLERANCE = 1e-3  # for float32 CAMs in 0..1: a quarter of their 8-bit step


def run(options: BenchmarkOptions) -> list[Row]:
    """Measure the sections, print a table and, with --out, write it as JSON."""
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
    """Time the CAMs of one image with the best published network and random weights. RuntimeError if results differ."""
    torch.manual_seed(options.seed)
    plain_net = build_cam_net(
        "resnet38", len(VOC_CLASSES), width=options.width, attention="se", suppression="learnable"
    ).eval()
    net = copy.deepcopy(plain_net).to(memory_format=torch.channels_last)
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

    def row(name: str, at_least: float) -> Row:
        if name not in variants:
            return Row(name, at_least=at_least, note="not supported by this CPU")
        ours, plain = seconds[name], seconds["CAMs, plain"]
        return Row(name, ours, plain, plain / ours, at_least=at_least, note=f"differ by {difference[name]:.1e}")

    return [row("CAMs, ours, float32", 1.2), row("CAMs, ours, bf16", 2.5)]


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
    full = []
    for size in scaled_sizes(image.shape[1:], scales):
        view = scaled_images(image[None], size)
        for maps in (raw_map(net, view), raw_map(net, view.flip(-1)).flip(-1)):
            full.append(F.interpolate(maps, tuple(image.shape[1:]), mode="bicubic", align_corners=False)[0])
    merged = torch.stack(full).mean(0)[:-1].relu()
    return (merged / merged.amax((1, 2), keepdim=True).clamp(min=ZERO))[list(keys)]


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
    note = f"EfficientNet-Lite0, {torch.get_num_threads()} threads"
    return [Row("segmentation test, images per second", scores["images_per_second"], note=note)]


def write_segmentation_data(folder: Path, options: BenchmarkOptions) -> list[str]:
    """Write photographs with masks and a list. Returns the flags that train one step on them."""
    image, saliency, _ = scene_with_object(options.seed, options.size, options.object_size)
    entries = write_photos(folder, image, saliency, max(8, options.pastes // 2))
    for entry in entries:
        write_label_png(folder / MASK_FOLDER / f"{entry.name}.png", to_label(entry.tags, saliency[None], 0.5))
    write_lines(folder / "list.txt", (entry.name for entry in entries))
    write_lines(folder / "classes.txt", VOC_CLASSES)
    values = {
        "config-path": PROJECT_ROOT / "deeplabv2" / "configs" / "voc_light.yaml",
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
    "pasting": lambda o: measure_pasting(size=o.size, object_size=o.object_size, pastes=o.pastes, seed=o.seed),
    "samples": lambda o: measure_samples(
        size=o.size, object_size=o.object_size, input_size=o.input_size, samples=o.pastes, seed=o.seed
    ),
    "crf": lambda o: measure_crf(size=o.size, repeats=o.repeats, seed=o.seed),
    "segmentation": measure_segmentation,
}
