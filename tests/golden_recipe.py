"""Weights and inputs of the stored reference numbers, remade from names so that they need no storage.

The numbers in tests/golden came from the published implementation (float32, CPU) with exactly these tensors.
"""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def _seeded(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))


def golden_input(tag: str, shape: Sequence[int]) -> Tensor:
    """The standard normal input that belongs to `tag`."""
    return torch.randn(tuple(shape), generator=_seeded(f"input:{tag}"))


def golden_weight(name: str, shape: Sequence[int]) -> Tensor:
    """The value of the parameter or buffer with the state-dict name `name`."""
    shape, leaf, generator = tuple(shape), name.split(".")[-1], _seeded(name)
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    if leaf == "running_var":
        return 0.5 + torch.rand(shape, generator=generator)
    if leaf == "running_mean":
        return 0.1 * torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return torch.randn(shape, generator=generator) * math.sqrt(1 / math.prod(shape[1:]))
    if leaf == "weight":
        return torch.rand(shape, generator=generator) * 0.5 + 0.75
    return 0.1 * torch.randn(shape, generator=generator)


def golden_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """A whole state dict from names and shapes."""
    return {name: golden_weight(name, shape) for name, shape in shapes.items()}


def golden_shapes(file: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes listed in a .tsv file of tests/golden, such as "resnet38_l2g_keys.tsv"."""
    rows = (line.split("\t") for line in (GOLDEN / file).read_text().splitlines())
    return {name: tuple(int(size) for size in sizes.split(",") if size) for name, sizes in rows}


def golden_module_shapes() -> dict[str, dict[str, list[int]]]:
    """Module name -> its parameters' and buffers' shapes."""
    return json.loads((GOLDEN / "module_keys.json").read_text())


def golden_arrays(file: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file of tests/golden."""
    with np.load(GOLDEN / file, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_matches(
    actual: Tensor | np.ndarray, expected: np.ndarray, *, rtol: float = 1e-3, atol: float = 1e-4
) -> None:
    """Compare with `atol` relative to the largest expected magnitude."""
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol * float(np.abs(expected).max()))
