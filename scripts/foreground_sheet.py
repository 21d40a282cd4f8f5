"""A contact sheet of a foreground bank: the objects that copy-paste augmentation pastes, by class."""

import numpy as np
from PIL import Image

from utils import drawing as visual
from utils.copy_paste.bank import SALIENT, Foreground, ForegroundBank
from utils.drawing import Cell
from utils.fonts import class_labels

CELL = (120, 110)  # pixels
ACROSS = 8  # foregrounds per class
FADED = 0.8  # how much pixels that are not pasted are blended with white
WITHHELD = (220, 40, 40)


def bank_sheet(bank: ForegroundBank, *, title: str) -> Image.Image:
    """Draw a row of foregrounds per class, at even intervals, always the same ones. -> RGB."""
    rows = []
    names, more_notes = class_labels(bank.classes)
    for tag in bank.tags:
        entries = bank.entries(tag)
        shown = [entries[i * len(entries) // ACROSS] for i in range(ACROSS)] if len(entries) > ACROSS else entries
        cells = [Cell(pasted_part(bank.read(entry)), entry.source) for entry in shown]
        rows.append([Cell(None, f"{names[tag]}: {len(entries)}"), *cells])
    missing = [names[bank.classes.index(name)] for name in bank.missing(bank.classes)]
    notes = [f"pale: not the object; red: object pixels that are not pasted (saliency up to {SALIENT} of 255)"]
    notes += [f"no foreground of: {', '.join(missing)}"] if missing else []
    notes += more_notes
    return visual.sheet(rows, cell_size=CELL, title=title, notes=notes)


def pasted_part(foreground: Foreground) -> np.ndarray:
    """Return the crop (h, w, 3) uint8 with the background faded and non-salient object pixels in red."""
    white = np.full_like(foreground.image, 255)
    picture = np.where(
        foreground.mask[..., None], foreground.image, visual.overlay(foreground.image, white, strength=FADED)
    )
    withheld = foreground.mask & (foreground.saliency <= SALIENT)
    red = visual.overlay(foreground.image, np.full_like(white, WITHHELD))
    return np.where(withheld[..., None], red, picture)
