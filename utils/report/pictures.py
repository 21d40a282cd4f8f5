"""Locates a run's photos, saliency maps, CAMs, labels and masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils.cam.artefact import read_cam, read_cam_keys
from utils.config.options.draw import DrawDataOptions
from utils.data.catalog import IGNORE_INDEX
from utils.data.images import find_image, read_label, read_rgb
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.fonts import class_labels
from utils.runs.handing_on import check_stored_classes
from utils.runs.inputs import open_run
from utils.runs.paths import RunPaths, pseudo_label_dir


@dataclass(frozen=True)
class Sources:
    """Folders of one run's pictures; None if it has none of that kind."""

    paths: RunPaths
    classes: tuple[str, ...]
    image_dir: Path
    sal_dir: Path | None
    label_dir: Path | None
    mask_dir: Path | None
    prediction_dir: Path | None = None

    def photo_and_cams(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read photo (H, W, 3), keys (K,) and cams (K, H, W). Raises UserError if they do not belong together."""
        artefact, photo = self.paths.cam_dir / f"{name}.npz", find_image(self.image_dir, name)
        keys, cams = read_cam(artefact)
        pixels = np.asarray(read_rgb(photo))
        if cams.shape[1:] != pixels.shape[:2]:
            raise UserError(
                f"is {cams.shape[2]}x{cams.shape[1]}, but {photo} is {pixels.shape[1]}x{pixels.shape[0]}",
                artefact,
                remedy="give the --image_dir from which the CAMs were computed",
            )
        if any(key >= len(self.classes) for key in keys):
            raise UserError(
                f"tag {max(keys)}", artefact, f"expected tags in 0..{len(self.classes) - 1}", "give its --dataset"
            )
        return pixels, keys, cams

    def tags_of(self, name: str) -> tuple[int, ...]:
        """Read the zero-based tags of an image's CAMs; none without a CAM file."""
        artefact = self.paths.cam_dir / f"{name}.npz"
        return tuple(read_cam_keys(artefact).tolist()) if artefact.is_file() else ()

    def caption(self, label: np.ndarray) -> str:
        """Return the names of the classes in a label map."""
        names = [self.name_of(index) for index in np.unique(label) if index not in (0, IGNORE_INDEX)]
        return ", ".join(names) or "background only"

    def name_of(self, index: int) -> str:
        """Return the name of a label map's index."""
        if index in (0, IGNORE_INDEX):
            return "ignored" if index else "background"
        return self.classes[index - 1] if index <= len(self.classes) else f"index {index}"


def names_with_cams(paths: RunPaths) -> list[str]:
    """Return the names of the images with CAMs. Raises UserError with the remedy if there are none."""
    names = sorted(path.stem for path in paths.cam_dir.glob("*.npz") if not path.name.startswith("."))
    if not names:
        remedy = f"run test_l2g.py --experiment_name {paths.root.name} first"
        raise UserError("contains no CAMs", paths.cam_dir, remedy=remedy)
    return names


def find_sources(paths: RunPaths, options: DrawDataOptions) -> tuple[Sources, list[str]]:
    """Return the existing folders, and a note for each missing one. A folder given by the user must exist."""
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
            notes.append(f"skipped, no such folder: {folder} (--{name})")
    for made in (paths.cam_dir, folders["label_dir"]):
        if made is not None:
            check_stored_classes(made, data.classes)
    return Sources(paths, data.classes, run.image_dir(options.image_dir), **folders), notes


def with_drawable_classes(sources: Sources) -> tuple[Sources, list[str]]:
    """Replace class names that pictures cannot show by numbers. Also returns a note if there are any."""
    shown, notes = class_labels(sources.classes)
    return replace(sources, classes=shown), notes


def read_optional_label(folder: Path | None, name: str) -> np.ndarray | None:
    """Read an image's label map (H, W), or return None if it has none."""
    path = folder / f"{name}.png" if folder else None
    return read_label(path) if path and path.is_file() else None


def spread(names: Sequence[str], count: int) -> list[str]:
    """Select `count` names (at least one) at even intervals, always the same ones."""
    count = min(max(count, 1), len(names))
    return [names[index * len(names) // count] for index in range(count)]


def spread_over_classes(
    names: Sequence[str], tags_of: Mapping[str, Sequence[int]], count: int, *, chosen: Sequence[str] = ()
) -> list[str]:
    """Select `count` names that show every class: equally many per class, at even intervals; the rest over all.

    Where classes are more than images to show, those images that add most classes. chosen: taken already, and counted.
    -> in the order of names, chosen first.
    """
    count = min(max(count, 1), len(names))
    taken = list(chosen)
    classes = sorted({tag for name in names for tag in tags_of[name]})
    if len(classes) > count:
        return [*taken, *_most_classes(names, tags_of, count, taken)]
    groups = {tag: [name for name in names if tag in tags_of[name]] for tag in classes}
    for tag, group in sorted(
        groups.items(), key=lambda item: len(item[1])
    ):  # rare ones first, since their images also show others
        missing = count // len(classes) - sum(tag in tags_of[name] for name in taken)
        rest = [name for name in group if name not in taken]
        if missing > 0 and rest and len(taken) < count:
            taken += spread(rest, min(missing, count - len(taken)))
    known = set(taken)
    rest = [name for name in names if name not in known]
    if rest and len(taken) < count:
        known |= set(spread(rest, count - len(taken)))
    return [*chosen, *(name for name in names if name in known.difference(chosen))]


def _most_classes(
    names: Sequence[str], tags_of: Mapping[str, Sequence[int]], count: int, taken: Sequence[str]
) -> list[str]:
    """Fill up to `count` names: each one adds the most classes, the first on ties."""
    shown = {tag for name in taken for tag in tags_of[name]}
    rest, added = [name for name in names if name not in set(taken)], set()
    for _ in range(count - len(taken)):
        best = max((name for name in rest if name not in added), key=lambda name: len(set(tags_of[name]) - shown))
        shown |= set(tags_of[best])
        added.add(best)
    return [name for name in names if name in added]
