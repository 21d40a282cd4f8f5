"""Weights and inputs of the stored reference numbers, generated from names so that they need no storage.

The numbers in tests/golden were computed by the published implementation (float32, CPU) with exactly these tensors.
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
    """Return the standard normal input for `tag`."""
    return torch.randn(tuple(shape), generator=_seeded(f"input:{tag}"))


def golden_weight(name: str, shape: Sequence[int]) -> Tensor:
    """Return the value of the parameter or buffer with the state-dict name `name`."""
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
    """Return a complete state dict from names and shapes."""
    return {name: golden_weight(name, shape) for name, shape in shapes.items()}


def saliency_patch_inputs(tag: str, patches: int = 6, size: int = 448, crop: int = 320) -> dict[str, Tensor]:
    """Five unscaled saliency crops with patches and local maps (20 classes, stride 8).

    saliency (5, 1, size, size) uint8: an object in a corner over haze of 1..5; zeros; an object in the middle; one near
    another corner; haze of 1..3 alone. boxes (5, patches, 5), the first column 0: the corners, then random positions.
    local_cams (5 * patches, 21, crop / 8, crop / 8); tags (5, 20).
    """
    generator = _seeded(f"{tag}sal")

    def haze(strongest: int, block: int = 7) -> Tensor:
        coarse = torch.randint(1, strongest + 1, (size // block, size // block), generator=generator)
        return coarse.repeat_interleave(block, 0).repeat_interleave(block, 1)

    def with_object(top: int, side: int, least: int, most: int) -> Tensor:
        plane = haze(5)
        plane[top : top + side, top : top + side] = torch.randint(least, most, (side, side), generator=generator)
        plane[top + side // 2, top + side // 2] = most
        return plane

    planes = [with_object(0, 96, 180, 250), torch.zeros(size, size).long(), with_object(160, 112, 60, 255)]
    planes += [with_object(size - 108, 96, 20, 90), haze(3)]
    tags = (torch.rand(len(planes), 20, generator=generator) < 0.15).float()
    tags[:, 3] = 1
    far = size - crop
    corners = [[0, 0, 0, crop, crop], [0, 0, far, crop, size], [0, far, 0, size, crop], [0, far, far, size, size]]
    boxes = []
    for _ in planes:
        extra = torch.randint(0, far, (patches - 4, 2), generator=generator).tolist()
        boxes.append(torch.tensor(corners + [[0, x, y, x + crop, y + crop] for x, y in extra], dtype=torch.float32))
    return {
        "saliency": torch.stack(planes)[:, None].to(torch.uint8),
        "boxes": torch.stack(boxes),
        "local_cams": golden_input(f"{tag}fl", (len(planes) * patches, 21, crop // 8, crop // 8)),
        "tags": tags,
    }


def golden_shapes(file: str) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes in a .tsv file of tests/golden, such as "resnet38_l2g_keys.tsv"."""
    rows = (line.split("\t") for line in (GOLDEN / file).read_text().splitlines())
    return {name: tuple(int(size) for size in sizes.split(",") if size) for name, sizes in rows}


def golden_module_shapes() -> dict[str, dict[str, list[int]]]:
    """Map each module name to its parameters' and buffers' shapes."""
    return json.loads((GOLDEN / "module_keys.json").read_text())


def golden_arrays(file: str) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file of tests/golden."""
    with np.load(GOLDEN / file, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_matches(
    actual: Tensor | np.ndarray, expected: np.ndarray, *, rtol: float = 1e-3, atol: float = 1e-4
) -> None:
    """Compare with `atol` relative to the largest expected magnitude."""
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol * float(np.abs(expected).max()))
