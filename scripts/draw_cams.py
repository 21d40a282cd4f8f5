"""Visualise a run: CAM heat maps, overlays on the photo, a contact sheet, and the HTML report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.sheet_choice import typical_images
from utils import drawing as visual
from utils.config.options import DrawOptions
from utils.data.images import read_gray, write_image
from utils.data.palette import PALETTE
from utils.drawing import Cell
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.report.page import with_predictions, write_report
from utils.report.pictures import (
    Sources,
    find_sources,
    names_with_cams,
    read_optional_label,
    spread_over_classes,
    with_drawable_classes,
)
from utils.report.runs import read_runs
from utils.runs.paths import RunPaths

CELL = (160, 128)  # of the contact sheet, pixels
MAX_CAMS = 4  # columns of CAMs on the contact sheet
MANY = 12  # with more images, the sheet has two per row
OVERLAY_FOLDER = "overlay"
SHEET_FILE = "contact_sheet.png"
SHEET_IMAGES = 24  # for an overview; the report's gallery has all images


def run(options: DrawOptions) -> Path:
    """Draw heat maps and overlays of every image with CAMs, then the contact sheet. Returns its path.

    With `report`, also write the HTML report and return its path instead.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    names = names_with_cams(paths)
    sources, notes = find_sources(paths, options)
    # read first, so that missing runs are reported before any picture is drawn
    runs = read_runs(options.runs_dir, (options.experiment_name, *options.compare)) if options.report else []
    predictions = existing_path(options.prediction_dir, "--prediction_dir") if options.prediction_dir else None
    drawn = _some_of(names, sources, options.max_images)
    work = parallel_map(
        partial(draw_image, sources), drawn, num_workers=options.num_workers, description="heat maps and overlays"
    )
    for _ in work:
        pass
    for note in notes:
        print(note)
    chosen, rule = typical_images(sources, names, SHEET_IMAGES)
    shown, more_notes = with_drawable_classes(sources)
    title = f"{options.experiment_name}: {len(chosen)} of the {len(names)} images with CAMs"
    page = paths.root / SHEET_FILE
    write_image(page, contact_sheet(shown, chosen, title=title, notes=[*notes, *more_notes, f"chosen: {rule}"]))
    print(f"{page}, {paths.heatmap_dir}, {paths.root / 'ms' / OVERLAY_FOLDER}: {len(drawn)} images drawn")
    if not options.report:
        return page
    sources, more_notes = with_predictions(sources, predictions)
    return write_report(
        runs,
        sources,
        names,
        notes=[*notes, *more_notes],
        max_images=options.report_images,
        num_workers=options.num_workers,
    )


def _some_of(names: Sequence[str], sources: Sources, count: int) -> list[str]:
    """`count` of the names over all classes; 0 is all."""
    if not count or len(names) <= count:
        return list(names)
    return spread_over_classes(names, {name: sources.tags_of(name) for name in names}, count)


def draw_image(sources: Sources, name: str) -> None:
    """Write a heat map per tag of an image, and its overlays side by side."""
    sources, _ = with_drawable_classes(sources)
    photo, keys, cams = sources.photo_and_cams(name)
    cells = [Cell(photo, name)]
    for key, heat in zip(keys, map(visual.heat_map, cams)):
        write_image(sources.paths.heatmap_dir / f"{name}_{key}.png", heat)
        cells.append(Cell(visual.overlay(photo, heat), sources.classes[key]))
    label = read_optional_label(sources.label_dir, name)
    if label is not None and label.shape == photo.shape[:2]:
        cells.append(Cell(visual.overlay_label(photo, label), f"label: {sources.caption(label)}"))
    strip = visual.sheet([cells], cell_size=(photo.shape[1], photo.shape[0]))
    write_image(sources.paths.root / "ms" / OVERLAY_FOLDER / f"{name}.jpg", strip, quality=90)


def contact_sheet(sources: Sources, names: Sequence[str], *, title: str, notes: Sequence[str]) -> Image.Image:
    """Draw photo, saliency, CAMs, pseudo label and mask of each image in a row, or two images per row for many.

    Kinds that no image has are omitted.
    """
    rows = [cells_of_image(sources, name) for name in names]
    num_cams = min(MAX_CAMS, max(len(row["CAM"]) for row in rows))
    columns: list[str] = []
    table: list[list[Cell]] = [[] for _ in rows]
    for kind, cells_across in (("photo", 1), ("saliency", 1), ("CAM", num_cams), ("pseudo label", 1), ("mask", 1)):
        if not any(row[kind] for row in rows):
            continue
        columns += [kind] + [""] * (cells_across - 1)
        for row, line in zip(rows, table):
            line += padded(row[kind], cells_across, "" if kind == "CAM" else f"no {kind}")
    used = sorted({index for row in rows for index in row["indices"]})
    colours = [PALETTE[index].tolist() for index in used]
    legend = [(sources.name_of(index), (red, green, blue)) for index, (red, green, blue) in zip(used, colours)]
    if len(table) > MANY:
        half = -(-len(table) // 2)
        seconds = [*table[half:], *[[]] * (2 * half - len(table))]
        table = [[*first, *second] for first, second in zip(table[:half], seconds, strict=True)]
        columns = columns * 2
    notes = [*notes, "CAM: blue 0, green 0.5, red 1 of its class's maximum, over the photo"]
    return visual.sheet(table, cell_size=CELL, columns=columns, title=title, notes=notes, legend=legend)


def padded(cells: Sequence[Cell], count: int, missing: str) -> list[Cell]:
    """Pad or truncate to `count` cells. If truncated, the last caption states how many more there are."""
    cells = list(cells)
    if len(cells) > count:
        last = cells[count - 1]
        cells = [*cells[: count - 1], Cell(last.image, f"{last.caption} (and {len(cells) - count} more)")]
    return cells + [Cell(None, missing)] * (count - len(cells))


def cells_of_image(sources: Sources, name: str) -> dict[str, list]:
    """Return the cells of an image by kind, and under `indices` the classes in its label maps."""
    photo, keys, cams = sources.photo_and_cams(name)
    heat = [Cell(visual.overlay(photo, visual.heat_map(c)), sources.classes[key]) for key, c in zip(keys, cams)]
    cells: dict[str, list] = {"photo": [Cell(photo, name)], "saliency": [], "CAM": heat, "indices": []}
    saliency = sources.sal_dir / f"{name}.png" if sources.sal_dir else None
    if saliency and saliency.is_file():
        cells["saliency"] = [Cell(visual.gray(np.asarray(read_gray(saliency))))]
    for kind, folder in (("pseudo label", sources.label_dir), ("mask", sources.mask_dir)):
        label = read_optional_label(folder, name)
        cells[kind] = []
        if label is not None:
            cells[kind] = [Cell(visual.color_label(label), sources.caption(label), is_label=True)]
            cells["indices"] += np.unique(label).tolist()
    return cells
