"""The pictures that belong to a run: where its photos, saliency maps, CAMs, labels and masks are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.cam.artefact import read_cam
from utils.config.options.draw import DrawDataOptions
from utils.data.catalog import IGNORE_INDEX
from utils.data.images import find_image, read_label, read_rgb
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.runs.inputs import open_run
from utils.runs.paths import RunPaths, pseudo_label_dir


@dataclass(frozen=True)
class Sources:
    """Where the pictures of one run come from; None is a kind that there is not."""

    paths: RunPaths
    classes: tuple[str, ...]
    image_dir: Path
    sal_dir: Path | None
    label_dir: Path | None
    mask_dir: Path | None
    prediction_dir: Path | None = None

    def photo_and_cams(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Photo (H, W, 3), keys (K,), cams (K, H, W). Raises UserError if they do not belong together."""
        artefact, photo = self.paths.cam_dir / f"{name}.npz", find_image(self.image_dir, name)
        keys, cams = read_cam(artefact)
        pixels = np.asarray(read_rgb(photo))
        if cams.shape[1:] != pixels.shape[:2]:
            raise UserError(
                f"is {cams.shape[2]}x{cams.shape[1]}, but {photo} is {pixels.shape[1]}x{pixels.shape[0]}",
                artefact,
                remedy="give the --image_dir that the CAMs were made from",
            )
        if any(key >= len(self.classes) for key in keys):
            raise UserError(f"tag {max(keys)}", artefact, f"tags are 0..{len(self.classes) - 1}", "give its --dataset")
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


def names_with_cams(paths: RunPaths) -> list[str]:
    """Names of the images that have CAMs. Raises UserError, with the remedy, where none has."""
    names = sorted(path.stem for path in paths.cam_dir.glob("*.npz") if not path.name.startswith("."))
    if not names:
        remedy = f"run test_l2g.py --experiment_name {paths.root.name} first"
        raise UserError("holds no CAMs", paths.cam_dir, remedy=remedy)
    return names


def find_sources(paths: RunPaths, options: DrawDataOptions) -> tuple[Sources, list[str]]:
    """The folders that there are, and a note for each that is not; a folder named by the user must be there."""
    run = open_run(paths, options.dataset)
    data = run.data
    sal_dir = options.sal_dir
    if sal_dir is None and run.trained:
        sal_dir = run.trained.sal_dir
    folders: dict[str, Path | None] = {}
    notes = []
    for name, given, default in (
        ("sal_dir", None if sal_dir == "none" else sal_dir, data.sal_dir),
        ("label_dir", options.label_dir, pseudo_label_dir(data.name, paths.root.name)),
        ("mask_dir", options.mask_dir, data.mask_dir),
    ):
        folder = existing_path(given, f"--{name}") if given else default
        folders[name] = folder if folder.is_dir() else None
        if folders[name] is None:
            notes.append(f"left out, for there is no folder {folder} (--{name})")
    return Sources(paths, data.classes, run.image_dir(options.image_dir), **folders), notes


def read_optional_label(folder: Path | None, name: str) -> np.ndarray | None:
    """The label map (H, W) of an image, or None where there is none."""
    path = folder / f"{name}.png" if folder else None
    return read_label(path) if path and path.is_file() else None


def spread(names: Sequence[str], count: int) -> list[str]:
    """`count` of the names (at least one), evenly over the list and always the same ones."""
    count = min(max(count, 1), len(names))
    return [names[index * len(names) // count] for index in range(count)]
