"""Photographs as cameras, phones and programs leave them -> upright 8-bit RGB, with a word on what was changed."""

import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, features

from utils.data.image_list import IMAGE_SUFFIXES
from utils.data.images import ask_image, decode, write_image
from utils.errors import UserError

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
READ_AS_THEY_ARE = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
}  # what every program here reads, by its suffix
PLAIN_MODES = ("RGB", "L")
JPEG_QUALITY = 95
# what is said of a photo that was changed
TRANSPARENT, SIXTEEN_BIT, TURNED = "transparent, shown over white", "16-bit, scaled to 8", "turned upright"
FIRST_FRAME, COLOURS, FORMAT, SCALED = "first frame of several", "converted to RGB", "saved as JPEG", "scaled down"


@dataclass(frozen=True)
class Photo:
    """An upright RGB image, and what had to be changed for it to be one: empty where the file can be used as it is."""

    image: Image.Image
    changes: tuple[str, ...]


def read_photo(path: Path, *, max_side: int = 0) -> Photo:
    """The photograph, its longer side at most `max_side` pixels (0: its own size).

    The first frame, over white where it is transparent, turned as its EXIF says, 16-bit values divided by 257.
    Raises UserError where it cannot be read, also where a package for its format is missing.
    """
    image = _decoded(path)
    changes = [FIRST_FRAME] if getattr(image, "n_frames", 1) > 1 and image.format != "MPO" else []
    is_plain = image.mode in PLAIN_MODES or (image.mode == "P" and "transparency" not in image.info)
    if image.format is not None and path.suffix.lower() not in READ_AS_THEY_ARE.get(image.format, ()):
        changes.append(FORMAT)
    upright = ImageOps.exif_transpose(image) if is_turned(image) else image
    if upright is not image:
        changes.append(TURNED)
    rgb, change = as_rgb(upright, path)
    changes += [change] if change else [] if is_plain else [COLOURS]
    longer = max(rgb.size)
    if max_side and longer > max_side:
        size = [max(1, round(side * max_side / longer)) for side in rgb.size]
        rgb = rgb.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        changes.append(SCALED)
    return Photo(rgb, tuple(changes))


def is_plain(path: Path) -> bool:
    """Whether read_photo would change nothing, by the file's header. Raises UserError where it cannot be opened."""

    def is_so(image: Image.Image) -> bool:
        suffixes = READ_AS_THEY_ARE.get(image.format or "", ())
        has_form = image.mode in (*PLAIN_MODES, "P") and "transparency" not in image.info
        return has_form and path.suffix.lower() in suffixes and path.suffix in IMAGE_SUFFIXES and not is_turned(image)

    _open_formats(path)
    return ask_image(path, is_so)


def as_rgb(image: Image.Image, path: Path) -> tuple[Image.Image, str | None]:
    """An RGB image of any of Pillow's modes, and what was done beside the plain conversion."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N", "F"):
        return Image.fromarray(_eight_bit(np.asarray(image))).convert("RGB"), SIXTEEN_BIT
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        whole = image.convert("RGBA")
        if whole.getchannel("A").getextrema()[0] == 255:
            return whole.convert("RGB"), None
        white = Image.new("RGBA", whole.size, "white")
        return Image.alpha_composite(white, whole).convert("RGB"), TRANSPARENT
    try:
        return image.convert("RGB"), None
    except ValueError as error:
        raise UserError(f"has colours of mode {image.mode}", path, remedy="save it as JPEG") from error


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """16-bit grey values / 257; floats in 0..1 times 255, others between their least and largest -> uint8."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        low, high = (0.0, 1.0) if values.min() >= 0 and values.max() <= 1 else (values.min(), values.max())
        return np.round((values - low) / (high - low or 1) * 255).astype(np.uint8)
    return np.clip(np.round(values / 257), 0, 255).astype(np.uint8)


def _decoded(path: Path) -> Image.Image:
    _open_formats(path)
    try:
        return decode(path)
    except UserError:
        other = _sixteen_bit_rgb(path) if path.suffix.lower() in (".tif", ".tiff") else None
        if other is None:
            raise
        return other


def _sixteen_bit_rgb(path: Path) -> Image.Image | None:
    """A TIFF of three 16-bit channels, which Pillow does not read; None where it is something else."""
    import cv2  # here: most photos do without

    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.dtype != np.uint16:
        return None
    return Image.fromarray(_eight_bit(np.ascontiguousarray(pixels[..., ::-1])))


def _open_formats(path: Path) -> None:
    """Makes Pillow able to open the file's format. Raises UserError that names the package where it cannot."""
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError as error:
            remedy = "run `pip install pillow-heif`, or save the photos as JPEG"
            raise UserError("HEIC is read by pillow-heif, which is not installed", path, remedy=remedy) from error
    if suffix == ".avif" and not features.check("avif"):
        raise UserError("AVIF is not read by the installed Pillow", path, remedy="save the photo as JPEG")


def is_turned(image: Image.Image) -> bool:
    """Whether the image's EXIF asks to show it rotated or mirrored."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def plain_suffix(path: Path, changes: tuple[str, ...]) -> str:
    """The suffix that the photo gets in a dataset: its own where it stays, PNG for PNGs, else JPEG."""
    if not changes or path.suffix.lower() == ".png":
        return path.suffix.lower()
    return ".jpg"


def write_plain(source: Path, target: Path, *, max_side: int = 0, made_from: str = "") -> None:
    """Writes the photo as read_photo gives it. made_from: the digest of the source, see utils.files.sources."""
    image = read_photo(source, max_side=max_side).image
    write_image(target, image, quality=JPEG_QUALITY, made_from=made_from)
