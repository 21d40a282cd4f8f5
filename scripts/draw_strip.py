"""Draw a strip for the README: photo, CAM, label and mask of a few images of a run, one image per column."""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.draw import StripOptions
    from utils.config.program import main

    main(StripOptions, "scripts.draw_strip")

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from scripts.sheet_choice import typical_images
from utils.config.options.draw import StripOptions
from utils.data.images import write_image
from utils.drawing import INK, PAPER, fit, heat_map, overlay, overlay_label, shortened, write_text
from utils.errors import UserError
from utils.report.pictures import (
    Sources,
    find_sources,
    names_with_cams,
    read_optional_label,
    with_drawable_classes,
)
from utils.runs.paths import RunPaths

GAP, MARGIN, TEXT = 8, 170, 26  # pixels
QUALITY = 88  # of the JPEG


def run(options: StripOptions) -> Path:
    """Draw the strip and return its path. Raises UserError for names without CAMs."""
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    known = names_with_cams(paths)
    missing = sorted(set(options.names) - set(known))
    if missing:
        raise UserError(f"no CAMs of {', '.join(missing)}", "--names", remedy="run test_l2g.py with their list first")
    sources, _ = find_sources(paths, options)
    sources, notes = with_drawable_classes(sources)
    for note in notes:
        print(note)
    names, rule = list(options.names), "as listed"
    if not names:
        names, rule = typical_images(sources, known, len(sources.classes))
    columns = [_column(sources, name, options.label_title) for name in names]
    write_image(Path(options.out).absolute(), np.asarray(strip(columns, width=options.width)), quality=QUALITY)
    print(f"{options.out}: {len(names)} images, chosen: {rule}")
    return Path(options.out)


def _column(sources: Sources, name: str, label_title: str) -> tuple[str, dict[str, np.ndarray]]:
    """Return an image's tags, and its existing pictures (H, W, 3) by row title."""
    photo, keys, cams = sources.photo_and_cams(name)
    pictures = {"photo": photo, "CAM": photo}
    if len(keys):  # with several tags, that of the strongest
        pictures["CAM"] = overlay(photo, heat_map(cams.max(axis=0)))
    for title, folder in ((label_title, sources.label_dir), ("true mask", sources.mask_dir)):
        label = read_optional_label(folder, name)
        if label is not None:
            pictures[title] = outlined(overlay_label(photo, label, strength=0.6), label)
    return ", ".join(sources.classes[key] for key in keys) or "no tag", pictures


def outlined(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Draw white lines into a picture (H, W, 3) where the label (H, W) changes, unless it is small."""
    around = np.ones((max(1, len(label) // 150),) * 2, np.uint8)
    changes = cv2.dilate(label, around) != cv2.erode(label, around)
    return np.where(changes[..., None], np.uint8(255), picture)


def strip(columns: Sequence[tuple[str, dict[str, np.ndarray]]], *, width: int) -> Image.Image:
    """Draw captioned columns with row titles on the left, `width` pixels wide. Rows have equal height. -> RGB."""
    titles = list(dict.fromkeys(title for _, pictures in columns for title in pictures))
    shapes = [pictures["photo"].shape for _, pictures in columns]
    free = width - MARGIN - GAP * (len(columns) + 1)
    height = int(free / sum(shape[1] / shape[0] for shape in shapes))
    page = Image.new("RGB", (width, GAP + (height + GAP) * len(titles) + TEXT + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for row, title in enumerate(titles):
        middle = GAP + row * (height + GAP) + height // 2
        write_text(draw, (GAP, middle), title, INK, size=TEXT, anchor="lm")
    left = MARGIN + GAP
    for (caption, pictures), shape in zip(columns, shapes):
        across = int(height * shape[1] / shape[0])
        for row, title in enumerate(titles):
            if title in pictures:
                page.paste(fit(pictures[title], (across, height)), (left, GAP + row * (height + GAP)))
        bottom = GAP + (height + GAP) * len(titles)
        write_text(draw, (left, bottom), shortened(caption, across, TEXT), INK, size=TEXT)
        left += across + GAP
    return page
