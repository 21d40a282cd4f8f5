"""Visualisation: heat maps, overlays, coloured labels, and sheets of captioned cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from utils.data.palette import PALETTE
from utils.fonts import UNKNOWN, drawable, font_for

PAPER, INK, FAINT, EMPTY = (255, 255, 255), (25, 25, 25), (110, 110, 110), (236, 236, 236)
TEXT, TITLE = 14, 20  # pixels
GAP = 6
LINE = 20  # height of a line of text, pixels


@dataclass(frozen=True)
class Cell:
    """One picture, (H, W, 3) uint8 RGB, and its caption. image None: an empty cell."""

    image: np.ndarray | None
    caption: str = ""
    is_label: bool = False  # coloured indices, which must not be interpolated


def heat_map(cam: np.ndarray) -> np.ndarray:
    """Colour (H, W) uint8, 0..255 = 0..1, with the jet colour map -> (H, W, 3) uint8 RGB."""
    return cv2.cvtColor(cv2.applyColorMap(np.ascontiguousarray(cam), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)


def overlay(photo: np.ndarray, colors: np.ndarray, *, strength: float = 0.5) -> np.ndarray:
    """Blend colours over a photo, both (H, W, 3) uint8. strength: 1 hides the photo."""
    if photo.shape != colors.shape:
        raise ValueError(f"photo {photo.shape} and colours {colors.shape}: expected the same (H, W, 3)")
    return cv2.addWeighted(photo, 1 - strength, colors, strength, 0)


def color_label(label: np.ndarray) -> np.ndarray:
    """Colour (H, W) uint8 indices with VOC's palette -> (H, W, 3) uint8 RGB; 255 is cream."""
    return PALETTE[label]


def overlay_label(photo: np.ndarray, label: np.ndarray, *, strength: float = 0.6) -> np.ndarray:
    """Blend a label's colours over a photo (H, W, 3). Background (0) leaves the photo unchanged."""
    return np.where(label[..., None] == 0, photo, overlay(photo, color_label(label), strength=strength))


def gray(image: np.ndarray) -> np.ndarray:
    """Convert (H, W) uint8 to (H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=2)


def fit(image: np.ndarray, size: tuple[int, int], *, is_label: bool = False) -> Image.Image:
    """Scale the image to fit into size (width, height), centred on grey."""
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    inner = tuple(max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    resample = Image.Resampling.NEAREST if is_label else Image.Resampling.BICUBIC
    cell = Image.new("RGB", size, EMPTY)
    resized = Image.fromarray(image).resize(inner, resample)
    cell.paste(resized, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return cell


def shortened(text: str, width: int, size: int = TEXT) -> str:
    """Truncate the text with an ellipsis to fit into `width` pixels; ? replaces letters that no font has."""
    text = drawable(text)
    font = font_for(text, size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip(" ,") + "..."


def write_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    color: tuple[int, int, int],
    *,
    size: int = TEXT,
    anchor: str = "la",
) -> None:
    """A line of text in a font that has its letters; at and anchor as Pillow has them."""
    draw.text(at, text, color, font_for(text, size), anchor=anchor)


def sheet(
    rows: Sequence[Sequence[Cell]],
    *,
    cell_size: tuple[int, int],
    columns: Sequence[str] = (),
    title: str = "",
    notes: Sequence[str] = (),
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """Draw captioned cells in a grid with title, notes, column heads and a legend of colours.

    cell_size: (width, height) of every picture in pixels. Rows may differ in length. Returns an RGB image.
    """
    notes = [*notes, *_unknown_letters(rows, [title, *columns, *notes, *(name for name, _ in legend)])]
    across = max([len(columns), *(len(row) for row in rows)])
    width = GAP + across * (cell_size[0] + GAP)
    legend_lines = _legend_lines(legend, width - 2 * GAP)
    heading = (TITLE + 2 * GAP if title else 0) + LINE * len(notes)
    head = LINE + GAP if columns else 0
    pitch = cell_size[1] + LINE + GAP
    height = GAP + heading + head + pitch * len(rows) + (LINE + GAP) * len(legend_lines) + (GAP if legend else 0)
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    top = GAP
    if title:
        write_text(draw, (GAP, top), shortened(title, width - 2 * GAP, TITLE), INK, size=TITLE)
        top += TITLE + 2 * GAP
    for note in notes:
        write_text(draw, (GAP, top), shortened(note, width - 2 * GAP), FAINT)
        top += LINE
    for column, name in enumerate(columns):
        write_text(draw, (GAP + column * (cell_size[0] + GAP), top), shortened(name, cell_size[0]), FAINT)
    top += head
    for row in rows:
        _draw_row(page, draw, row, top, cell_size)
        top += pitch
    _draw_legend(draw, legend_lines, top)
    return page


def _unknown_letters(rows: Sequence[Sequence[Cell]], texts: Sequence[str]) -> list[str]:
    """A note where some text of a sheet has letters that no font here has."""
    captions = [cell.caption for row in rows for cell in row]
    known = all(drawable(text) == text for text in (*texts, *captions))
    return [] if known else [f"{UNKNOWN} stands for letters that no font here has"]


def _draw_row(
    page: Image.Image, draw: ImageDraw.ImageDraw, row: Sequence[Cell], top: int, size: tuple[int, int]
) -> None:
    for column, cell in enumerate(row):
        left = GAP + column * (size[0] + GAP)
        if cell.image is not None:
            page.paste(fit(cell.image, size, is_label=cell.is_label), (left, top))
        write_text(draw, (left, top + size[1] + 1), shortened(cell.caption, size[0]), INK)


def _legend_lines(
    legend: Sequence[tuple[str, tuple[int, int, int]]], width: int
) -> list[list[tuple[int, str, tuple[int, int, int]]]]:
    """Break legend entries into lines of at most `width` pixels: (left, name, colour)."""
    lines: list[list[tuple[int, str, tuple[int, int, int]]]] = []
    left = width
    for name, color in legend:
        name = drawable(name)
        needed = LINE + GAP + round(font_for(name, TEXT).getlength(name)) + 2 * GAP
        if not lines or left + needed > width:
            lines.append([])
            left = 0
        lines[-1].append((GAP + left, name, color))
        left += needed
    return lines


def _draw_legend(draw: ImageDraw.ImageDraw, lines: list, top: int) -> None:
    for line in lines:
        for left, name, color in line:
            draw.rectangle((left, top, left + LINE, top + LINE - 3), fill=tuple(color), outline=FAINT)
            write_text(draw, (left + LINE + GAP, top), name, INK)
        top += LINE + GAP
