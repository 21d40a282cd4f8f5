"""Lower bounds of the hot paths: decoding and encoding files, and a network's arithmetic at the measured GEMM rate."""

import copy
import io
import statistics
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from utils.cam.multi_scale import scaled_sizes
from utils.data.images import decode
from utils.runtime.speed import matrix_tflops


def decoding_seconds(files: Sequence[Path]) -> float:
    """Return the median seconds that Pillow needs to decode one of the JPEGs or PNGs."""
    return _median(decode, files)


def unpacking_seconds(files: Sequence[Path]) -> float:
    """Return the median seconds that zlib needs to decompress one of the CAM files."""

    def unpack(path: Path) -> None:
        with zipfile.ZipFile(path) as stored:
            for name in stored.namelist():
                stored.read(name)

    return _median(unpack, files)


def png_seconds(labels: Sequence[np.ndarray]) -> float:
    """Return the median seconds that Pillow needs to encode one of the label maps (H, W) uint8 as PNG, in memory."""
    encode = Image.Image.save  # no file is written
    return _median(lambda label: encode(Image.fromarray(label), io.BytesIO(), "PNG"), labels)


def copying_seconds(maps: np.ndarray, count: int) -> float:
    """Return the CPU seconds of copying an array `count` times within memory."""
    copy = np.empty_like(maps)
    start = time.process_time()
    for _ in range(count):
        np.copyto(copy, maps)
    return time.process_time() - start


def _median(function: Callable, items: Sequence) -> float:
    seconds = []
    for item in items:
        start = time.perf_counter()
        function(item)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@cache
def gemm_tflops(amp: str) -> float:
    """Return TFLOP per second of large matrix products on the CPU at precision `amp`, measured once."""
    return matrix_tflops(torch.device("cpu"), amp, seconds=1.0)


@torch.inference_mode()
def cam_tflop(network: nn.Module, size: tuple[int, int], *, scales: Sequence[float]) -> float:
    """Count the TFLOP of the network on an image of size (H, W), plain and mirrored at all scales."""
    shapes = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter:
        for height, width in scaled_sizes(size, scales):
            shapes(torch.empty(2, 3, height, width, device="meta"))
    return counter.get_total_flops() / 1e12
