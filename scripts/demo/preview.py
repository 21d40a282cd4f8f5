"""A sheet of the built-in dataset: the first picture of each class, with its saliency and its mask."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.demo.sprites import CLASS_NAMES
from utils.data.images import read_gray, read_label, read_rgb
from utils.drawing import Cell, color_label, gray, sheet

CELL = (200, 160)  # pixels
ACROSS = 2  # pictures in a row


def draw_preview(root: Path, tags_of: Sequence[tuple[str, Sequence[int]]]) -> Image.Image:
    """Draw, for each class, picture, saliency and mask of its first picture in `tags_of` (name, zero-based tags)."""
    firsts = [next((name for name, tags in tags_of if key in tags), None) for key in range(len(CLASS_NAMES))]
    names = list(dict.fromkeys(name for name in firsts if name is not None))
    tags = dict(tags_of)
    triples = [_cells(root, name, ", ".join(CLASS_NAMES[key] for key in tags[name])) for name in names]
    rows = [[cell for triple in triples[i : i + ACROSS] for cell in triple] for i in range(0, len(triples), ACROSS)]
    return sheet(
        rows,
        cell_size=CELL,
        columns=["picture and its tags", "saliency", "mask, only for scores"] * ACROSS,
        title="The built-in dataset: the first picture of each class",
    )


def _cells(root: Path, name: str, caption: str) -> list[Cell]:
    saliency = np.asarray(read_gray(root / "Sal" / f"{name}.png"))
    return [
        Cell(np.asarray(read_rgb(root / "JPEGImages" / f"{name}.jpg")), caption),
        Cell(gray(saliency)),
        Cell(color_label(read_label(root / "SegmentationClass" / f"{name}.png")), is_label=True),
    ]
