"""Converts photographs from cameras, phones and programs to upright 8-bit RGB, and notes what was changed."""

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
}  # formats that every program here reads, by suffix
PLAIN_MODES = ("RGB", "L")
JPEG_QUALITY = 95
# notes about photos that were changed
TRANSPARENT, SIXTEEN_BIT, TURNED = "transparent, shown over white", "16-bit, scaled to 8", "turned upright"
FIRST_FRAME, COLOURS, FORMAT, SCALED = "first frame of several", "converted to RGB", "saved as JPEG", "scaled down"


@dataclass(frozen=True)
class Photo:
    """An upright RGB image. changes: what had to be changed; empty if the file can be used as it is."""

    image: Image.Image
    changes: tuple[str, ...]


def read_photo(path: Path, *, max_side: int = 0) -> Photo:
    """Read a photograph, scaled down to at most `max_side` pixels on its longer side (0: not scaled).

    Takes the first frame, puts transparent images over white, applies the EXIF rotation, and divides 16-bit values
    by 257. Raises UserError if it cannot be read or the package for its format is not installed.
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
    """Return whether read_photo would change nothing, judging by the header. Raises UserError if unreadable."""

    def is_so(image: Image.Image) -> bool:
        suffixes = READ_AS_THEY_ARE.get(image.format or "", ())
        has_form = image.mode in (*PLAIN_MODES, "P") and "transparency" not in image.info
        return has_form and path.suffix.lower() in suffixes and path.suffix in IMAGE_SUFFIXES and not is_turned(image)

    _open_formats(path)
    return ask_image(path, is_so)


def as_rgb(image: Image.Image, path: Path) -> tuple[Image.Image, str | None]:
    """Convert an image of any Pillow mode to RGB. Also returns a note on what was changed, if anything."""
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
    """Convert grey values to uint8: 16-bit / 257; floats in 0..1 * 255; other floats scaled from minimum to maximum."""
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
    """Read a TIFF with three 16-bit channels, which Pillow cannot read. None for other files."""
    import cv2  # not at the top: most photos do not need it

    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.dtype != np.uint16:
        return None
    return Image.fromarray(_eight_bit(np.ascontiguousarray(pixels[..., ::-1])))


def _open_formats(path: Path) -> None:
    """Register Pillow's reader for the file's format. Raises UserError naming the missing package."""
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError as error:
            remedy = "run `pip install pillow-heif`, or save the photos as JPEG"
            raise UserError("reading HEIC needs pillow-heif, which is not installed", path, remedy=remedy) from error
    if suffix == ".avif" and not features.check("avif"):
        raise UserError("the installed Pillow cannot read AVIF", path, remedy="save the photo as JPEG")


def is_turned(image: Image.Image) -> bool:
    """Return whether the image's EXIF data rotates or mirrors it."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def plain_suffix(path: Path, changes: tuple[str, ...]) -> str:
    """Return the photo's suffix in a dataset: its own if it is copied unchanged, PNG for PNGs, else JPEG."""
    if not changes or path.suffix.lower() == ".png":
        return path.suffix.lower()
    return ".jpg"


def write_plain(source: Path, target: Path, *, max_side: int = 0, made_from: str = "") -> None:
    """Write the photo as read_photo returns it. made_from: digest of the source, see utils.files.sources."""
    image = read_photo(source, max_side=max_side).image
    write_image(target, image, quality=JPEG_QUALITY, made_from=made_from)
