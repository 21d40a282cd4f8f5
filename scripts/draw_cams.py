"""Pictures of a run: CAM heat maps, overlays on the photo, and a contact sheet to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from utils import visual
from utils.cam import read_cam
from utils.catalog import IGNORE_INDEX, PALETTE
from utils.cli import load_options
from utils.images import find_image, read_gray, read_label, read_rgb, write_image
from utils.options import DrawOptions, TrainOptions
from utils.parallel import parallel_map
from utils.paths import RunPaths, existing_path, pseudo_label_dir
from utils.run_data import dataset_of_run, image_dir_of_run
from utils.visual import Cell

CELL = (240, 180)  # of the contact sheet, pixels
MAX_CAMS = 4  # columns of CAMs on the contact sheet
OVERLAY_FOLDER = "overlay"
SHEET_FILE = "contact_sheet.png"


@dataclass(frozen=True)
class Sources:
    """Where the pictures of one run come from; None is a kind that there is not."""

    paths: RunPaths
    classes: tuple[str, ...]
    image_dir: Path
    sal_dir: Path | None
    label_dir: Path | None
    mask_dir: Path | None

    def photo_and_cams(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Photo (H, W, 3), keys (K,), cams (K, H, W). Raises ValueError if they do not belong together."""
        artefact, photo = self.paths.cam_dir / f"{name}.npz", find_image(self.image_dir, name)
        keys, cams = read_cam(artefact)
        pixels = np.asarray(read_rgb(photo))
        if cams.shape[1:] != pixels.shape[:2]:
            raise ValueError(
                f"{artefact} is {cams.shape[2]}x{cams.shape[1]}, but {photo} is {pixels.shape[1]}x{pixels.shape[0]}: "
                "give the --image_dir that the CAMs were made from"
            )
        if any(key >= len(self.classes) for key in keys):
            raise ValueError(f"{artefact}: tag {max(keys)} is outside 0..{len(self.classes) - 1}: give its --dataset")
        return pixels, keys, cams

    def caption(self, label: np.ndarray) -> str:
        """Names of the classes on a label map."""
        names = [self.name_of(index) for index in np.unique(label) if index not in (0, IGNORE_INDEX)]
        return ", ".join(names) or "background only"

    def name_of(self, index: int) -> str:
        """The name that a label map's index stands for."""
        if index in (0, IGNORE_INDEX):
            return "ignored" if index else "background"
        return self.classes[index - 1] if index <= len(self.classes) else f"index {index}"


def run(options: DrawOptions) -> Path:
    """Draws heat maps and overlays of every image that has CAMs, then the contact sheet, whose path it returns."""
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    names = sorted(path.stem for path in paths.cam_dir.glob("*.npz") if not path.name.startswith("."))
    if not names:
        raise FileNotFoundError(
            f"no CAMs in {paths.cam_dir}: run test_l2g.py --experiment_name {options.experiment_name} first"
        )
    sources, notes = find_sources(options, paths)
    drawn = spread(names, options.max_images or len(names))
    work = parallel_map(
        partial(draw_image, sources), drawn, num_workers=options.num_workers, description="heat maps and overlays"
    )
    for _ in work:
        pass
    for note in notes:
        print(note)
    chosen = spread(names, options.sheet_images)
    title = f"{options.experiment_name}: {len(chosen)} of the {len(names)} images with CAMs"
    page = paths.root / SHEET_FILE
    write_image(page, contact_sheet(sources, chosen, title=title, notes=notes))
    print(f"{page}, {paths.heatmap_dir}, {paths.root / 'ms' / OVERLAY_FOLDER}: {len(drawn)} images drawn")
    return page


def spread(names: Sequence[str], count: int) -> list[str]:
    """`count` of the names (at least one), evenly over the list and always the same ones."""
    count = min(max(count, 1), len(names))
    return [names[index * len(names) // count] for index in range(count)]


def find_sources(options: DrawOptions, paths: RunPaths) -> tuple[Sources, list[str]]:
    """The folders that there are, and a note for each that is not; a folder named by the user must be there."""
    data = dataset_of_run(paths, options.dataset)
    sal_dir = options.sal_dir
    if sal_dir is None and options.dataset is None:
        sal_dir = load_options(TrainOptions, paths.config).sal_dir
    folders: dict[str, Path | None] = {}
    notes = []
    for name, given, default in (
        ("sal_dir", None if sal_dir == "none" else sal_dir, data.sal_dir),
        ("label_dir", options.label_dir, pseudo_label_dir(data.name, options.experiment_name)),
        ("mask_dir", options.mask_dir, data.mask_dir),
    ):
        folder = existing_path(given, f"--{name}") if given else default
        folders[name] = folder if folder.is_dir() else None
        if folders[name] is None:
            notes.append(f"left out, for there is no folder {folder} (--{name})")
    image_dir = image_dir_of_run(paths, data, image_dir=options.image_dir, dataset=options.dataset)
    return Sources(paths, data.classes, image_dir, **folders), notes


def draw_image(sources: Sources, name: str) -> None:
    """Writes one image's heat map a tag, and its overlays side by side."""
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


def read_optional_label(folder: Path | None, name: str) -> np.ndarray | None:
    """The label map (H, W) of an image, or None where there is none."""
    path = folder / f"{name}.png" if folder else None
    return read_label(path) if path and path.is_file() else None


def contact_sheet(sources: Sources, names: Sequence[str], *, title: str, notes: Sequence[str]) -> Image.Image:
    """One row an image: photo, saliency, CAMs, pseudo label, mask; kinds that no image has are left out."""
    rows = [cells_of_image(sources, name) for name in names]
    num_cams = min(MAX_CAMS, max(len(row["CAM"]) for row in rows))
    columns, table = [], [[] for _ in rows]
    for kind, cells_across in (("photo", 1), ("saliency", 1), ("CAM", num_cams), ("pseudo label", 1), ("mask", 1)):
        if not any(row[kind] for row in rows):
            continue
        columns += [kind] + [""] * (cells_across - 1)
        for row, line in zip(rows, table):
            line += padded(row[kind], cells_across, "" if kind == "CAM" else f"no {kind}")
    used = sorted({index for row in rows for index in row["indices"]})
    legend = [(sources.name_of(index), tuple(int(v) for v in PALETTE[index])) for index in used]
    notes = [*notes, "CAM: blue 0, green 0.5, red 1 of its class's maximum, over the photo"]
    return visual.sheet(table, cell_size=CELL, columns=columns, title=title, notes=notes, legend=legend)


def padded(cells: Sequence[Cell], count: int, missing: str) -> list[Cell]:
    """Exactly `count` cells; the last one tells how many more there were."""
    cells = list(cells)
    if len(cells) > count:
        last = cells[count - 1]
        cells = [*cells[: count - 1], Cell(last.image, f"{last.caption} (and {len(cells) - count} more)")]
    return cells + [Cell(None, missing)] * (count - len(cells))


def cells_of_image(sources: Sources, name: str) -> dict[str, list]:
    """Cells of one image by kind, and under `indices` what its label maps hold."""
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
