"""Measures how fast a device computes."""

import time

import torch

from utils.runtime.device import AMP_TYPES

SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices: large enough that memory access takes negligible time


def matrix_tflops(device: torch.device, amp: str, *, seconds: float = 2.0) -> float:
    """Measure TFLOP per second of matrix products on the device at precision `amp`. Convolutions reach less."""
    side = SIDES.get(device.type, SIDES["cpu"])
    matrix = torch.ones(side, side, device=device, dtype=AMP_TYPES.get(amp, torch.float32))
    result = matrix @ matrix  # the first product also initialises the library
    count, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        for _ in range(8):
            torch.mm(matrix, matrix, out=result)
        count += 8
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return 2 * side**3 * count / (time.monotonic() - start) / 1e12
