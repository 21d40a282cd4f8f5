"""A bank of foregrounds of a few pixels, for tests of pasting and of training with it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.copy_paste.bank import Foreground, write_foreground, write_index


def block(height: int = 8, width: int = 8, *, color=(250, 120, 10), tag: int = 0, saliency: int = 255) -> Foreground:
    """A foreground of one colour that fills its box."""
    return Foreground(
        image=np.full((height, width, 3), color, np.uint8),
        mask=np.ones((height, width), bool),
        saliency=np.full((height, width), saliency, np.uint8),
        tag=tag,
        source="block",
    )


def make_small_bank(folder: Path, foregrounds: Sequence[Foreground], classes: Sequence[str]) -> Path:
    """Write the foregrounds as a bank of a dataset with these classes."""
    entries = [write_foreground(folder, f, classes[f.tag], agreement=1.0) for f in foregrounds]
    write_index(folder, entries)
    return folder
