"""One image of the report: its statistics, and its thumbnails as data URIs, cached between reports."""

import base64
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from utils import drawing as visual
from utils.cam.artefact import read_cam_keys
from utils.data.catalog import IGNORE_INDEX
from utils.data.images import find_image, read_gray, read_label, read_rgb
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.atomic import read_json, write_json
from utils.metrics import label_confusion
from utils.report.pictures import Sources

THUMBNAIL = 224  # longer side, pixels
HEAT = 96  # longer side of thumbnails of CAMs and saliency maps, which are smooth
MAPS: tuple[str, ...] = ("label", "mask", "prediction")
FORM = 2  # version of the stored records: increment it when they change


@dataclass(frozen=True)
class ImageFacts:
    """Statistics of one image. Pixel counts by label index, 0 background, 255 ignored. IoUs in 0..1.

    An IoU is the mean over the classes, including background, in the image's mask or label map.
    """

    name: str
    tags: tuple[int, ...]
    """Zero-based."""
    has_cams: bool
    label_pixels: dict[int, int] | None
    mask_pixels: dict[int, int] | None
    prediction_pixels: dict[int, int] | None
    label_iou: float | None
    prediction_iou: float | None

    def classes(self) -> list[int]:
        """Label indices of the objects in the image's tags or in any of its maps."""
        maps = (self.label_pixels, self.mask_pixels, self.prediction_pixels)
        found = {tag + 1 for tag in self.tags} | {index for pixels in maps for index in pixels or {}}
        return sorted(found - {0, IGNORE_INDEX})


def image_facts(name: str, *, sources: Sources, folder: Path, with_pictures: bool) -> ImageFacts:
    """Compute the image's statistics and store them, with pictures on request, in folder/NAME.json.

    An existing record of the same files is reused. Raises UserError naming files that do not belong together.
    """
    record = folder / f"{name}.json"
    files = _files(sources, name)
    made_from = _made_from(files, num_classes=len(sources.classes))
    stored = _read_record(record)
    if not (stored and stored["made_from"] == made_from and (stored["pictures"] or not with_pictures)):
        maps = {kind: read_label(files[kind]) for kind in MAPS if kind in files}
        stored = {
            "made_from": made_from,
            "facts": _facts(name, files, maps, num_labels=len(sources.classes) + 1),
            "pictures": _pictures(sources, name, files, maps) if with_pictures else None,
        }
        write_json(record, stored, indent=None)
    return _facts_from_json(stored["facts"])


def pictures_of(name: str, folder: Path) -> dict[str, Any]:
    """Read the thumbnails of image_facts: photo, saliency, cams [[label index, URI]], label, mask, prediction."""
    return read_json(folder / f"{name}.json")["pictures"]


def _files(sources: Sources, name: str) -> dict[str, Path]:
    """Return the image's existing files by kind."""
    wanted = {
        "cams": sources.paths.cam_dir / f"{name}.npz",
        "saliency": sources.sal_dir / f"{name}.png" if sources.sal_dir else None,
        "label": sources.label_dir / f"{name}.png" if sources.label_dir else None,
        "mask": sources.mask_dir / f"{name}.png" if sources.mask_dir else None,
        "prediction": sources.prediction_dir / f"{name}.png" if sources.prediction_dir else None,
    }
    there = {kind: path for kind, path in wanted.items() if path and path.is_file()}
    return {"photo": find_image(sources.image_dir, name), **there}


def _made_from(files: dict[str, Path], *, num_classes: int) -> dict[str, Any]:
    states = {kind: path.stat() for kind, path in files.items()}
    return {
        "form": [FORM, THUMBNAIL, HEAT, num_classes],
        **{kind: [str(path), states[kind].st_mtime_ns, states[kind].st_size] for kind, path in files.items()},
    }


def _read_record(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _facts(name: str, files: dict[str, Path], maps: dict[str, np.ndarray], *, num_labels: int) -> dict[str, Any]:
    iou = partial(_iou, maps, files, num_labels=num_labels)
    return {
        "name": name,
        "tags": read_cam_keys(files["cams"]).tolist() if "cams" in files else [],
        "has_cams": "cams" in files,
        **{f"{kind}_pixels": _pixels(maps.get(kind)) for kind in MAPS},
        "label_iou": iou("label"),
        "prediction_iou": iou("prediction"),
    }


def _facts_from_json(facts: dict[str, Any]) -> ImageFacts:
    maps = [f"{kind}_pixels" for kind in MAPS]
    counts = {key: {int(index): n for index, n in facts[key].items()} for key in maps if facts[key]}
    return ImageFacts(**{**facts, **counts, "tags": tuple(facts["tags"])})


def _pixels(label: np.ndarray | None) -> dict[int, int] | None:
    if label is None:
        return None
    counts = np.bincount(label.ravel(), minlength=256)
    return {int(index): int(counts[index]) for index in np.flatnonzero(counts)}


def _iou(maps: dict[str, np.ndarray], files: dict[str, Path], kind: str, *, num_labels: int) -> float | None:
    if kind not in maps or "mask" not in maps:
        return None
    try:
        mean = label_confusion(maps[kind], maps["mask"], num_labels=num_labels).scores().mean_iou
    except UserError as error:
        raise error.at(f"{files[kind]} against {files['mask']}") from error
    return None if np.isnan(mean) else mean


def _pictures(sources: Sources, name: str, files: dict[str, Path], maps: dict[str, np.ndarray]) -> dict[str, Any]:
    if "cams" in files:
        photo, keys, cams = sources.photo_and_cams(name)
    else:
        photo, keys, cams = np.asarray(read_rgb(files["photo"])), np.zeros(0, np.int64), np.zeros((0, 1, 1), np.uint8)
    pictures: dict[str, Any] = {
        "photo": _webp(_small(photo, THUMBNAIL), quality=70),
        "cams": [[int(k) + 1, _webp(visual.heat_map(_small(cam, HEAT)), quality=70)] for k, cam in zip(keys, cams)],
    }
    if "saliency" in files:
        pictures["saliency"] = _webp(_small(np.asarray(read_gray(files["saliency"])), THUMBNAIL), quality=50)
    for kind, label in maps.items():
        if label.shape != photo.shape[:2]:
            what = f"is {label.shape[1]}x{label.shape[0]}"
            rule = f"{files['photo']} is {photo.shape[1]}x{photo.shape[0]}"
            raise UserError(what, files[kind], rule, "give the matching --image_dir")
        # the border in VOC's masks is ignored in every image; captions do not repeat that
        unsaid = {0, IGNORE_INDEX} if kind == "mask" else {0}
        indices = sorted(set(np.unique(label).tolist()) - unsaid)
        pictures[kind] = [_label_png(_small(label, THUMBNAIL, is_label=True)), indices]
    return pictures


def _small(image: np.ndarray, side: int, *, is_label: bool = False) -> np.ndarray:
    """Scale the image down to `side` pixels on its longer side. Smaller images stay unchanged."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT if is_label else cv2.INTER_AREA)


def _webp(image: np.ndarray, *, quality: int) -> str:
    with io.BytesIO() as file:
        Image.fromarray(image).save(file, "WEBP", quality=quality)
        return _data_uri("webp", file.getvalue())


def _label_png(label: np.ndarray) -> str:
    """Encode a label in VOC's colours with transparent background, for overlays. Stores only the used colours."""
    used, indices = np.unique(label, return_inverse=True)
    image = Image.fromarray(indices.reshape(label.shape).astype(np.uint8))
    image.putpalette(PALETTE[used].flatten().tolist())
    options = {"transparency": 0} if used[0] == 0 else {}
    with io.BytesIO() as file:
        image.save(file, "PNG", optimize=True, **options)
        return _data_uri("png", file.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
