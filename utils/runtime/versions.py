"""Records the libraries and the machine of a run."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.files.atomic import write_json

REPORTED_PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "pillow", "numba")


def write_versions(path: Path, choices: Mapping[str, Any]) -> None:
    """Record Python, libraries, machine and how the device computed.

    CPU instructions and the number of threads determine the order of sums, and therefore the last digits of results.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    for package in REPORTED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    write_json(path, found | {"choices": dict(choices)})
