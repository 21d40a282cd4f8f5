"""Reads and writes images, saliency maps and label maps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from utils.data.image_list import IMAGE_SUFFIXES
from utils.data.maps import label_of, saliency_of
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors, refusal
from utils.files.text import first_few

AnswerT = TypeVar("AnswerT")

FEW_FILES, FEW_BYTES = 1000, 100 << 20  # that are read whole before a training starts
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}  # Pillow's name of a format -> the end of its files


def find_image(folder: Path, name: str) -> Path:
    """Find the image `name` in `folder` with any image suffix. Raises UserError if there is none."""
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise UserError("no such image", folder / name, f"expected the suffix {', '.join(IMAGE_SUFFIXES[:3])}")


def image_files(folder: Path) -> dict[str, Path]:
    """Map the name of every image in `folder` to the path that find_image returns, listing the folder once."""
    found: dict[str, Path] = {}
    with disk_errors(folder, "listed"):
        files = list(folder.iterdir())
    for path in files:
        if path.suffix in IMAGE_SUFFIXES and not path.name.startswith("."):
            other = found.get(path.stem)
            if other is None or IMAGE_SUFFIXES.index(path.suffix) < IMAGE_SUFFIXES.index(other.suffix):
                found[path.stem] = path
    return found


def image_or_guess(folder: Path, name: str, *, suffix: str = ".jpg") -> Path:
    """Find the image, or return its usual path if it is missing, so that all missing ones can be reported together."""
    try:
        return find_image(folder, name)
    except UserError:
        return folder / f"{name}{suffix}"


def missing_files(what: str, folder: Path, names: Sequence[str], *, remedy: str = "") -> list[str]:
    """Return a line listing the named images that are missing from `folder`, with any suffix; [] if none are."""
    remedy = f" ({remedy})" if remedy else ""
    if not folder.is_dir():
        return [f"{what}: none in {folder}: add them{remedy}"]
    there = image_files(folder)
    missing = [name for name in names if name not in there]
    if not missing:
        return []
    return [f"{what}: {len(missing)} of {len(names)} are missing in {folder} ({first_few(missing)}){remedy}"]


def read_rgb(path: Path) -> Image.Image:
    """Read a photograph as an RGB PIL image. Raises UserError naming the file if it cannot be decoded."""
    return decode(path).convert("RGB")


def read_gray(path: Path) -> Image.Image:
    """Read a grey map (saliency, attention) as an L PIL image, see maps.saliency_of. Raises UserError for colours."""
    return Image.fromarray(saliency_of(decode(path), path)[0])


def read_rgba(path: Path) -> np.ndarray:
    """Read an image with its mask as alpha channel, (H, W, 4) uint8. Raises UserError if it has no alpha channel."""
    image = decode(path)
    if image.mode != "RGBA":
        raise UserError(f"is an {image.mode} image", path, "expected RGBA with the mask as alpha channel")
    return np.asarray(image)


def read_label(path: Path) -> np.ndarray:
    """Read a label map (H, W) uint8, see maps.label_of; 255 is ignored. Raises UserError on RGB masks."""
    image, bits = decode_with_bits(path)
    return label_of(image, path, bits)[0]


def decode_with_bits(path: Path) -> tuple[Image.Image, str]:
    """Return the decoded image and Pillow's raw mode of the file, which states the bits per pixel."""
    bits = ""

    def load(image: Image.Image) -> None:
        nonlocal bits
        tiles = getattr(image, "tile", None)
        bits = str(tiles[0][3]) if tiles else ""
        image.load()

    return _open(path, load), bits


def decode(path: Path) -> Image.Image:
    """Decode an image in the mode it is stored in. Raises UserError naming the file if it cannot be decoded."""
    return _open(path, lambda image: image.load())


def open_header(path: Path) -> Image.Image:
    """Read size and mode of an image without its pixels. Raises UserError like decode."""
    return _open(path, lambda image: image.close())


def open_complete(path: Path) -> Image.Image:
    """Like open_header, but also raise UserError if the file is cut short.

    Only a file that does not end as its format does, which may be intact, is decoded to find out.
    """
    image = open_header(path)
    end = ENDS.get(image.format or "")
    if end is None:
        return image
    with disk_errors(path), path.open("rb") as file:
        file.seek(-min(len(end), path.stat().st_size), 2)
        ended = file.read() == end
    return image if ended else decode(path)


def are_few(files: Sequence[Path]) -> bool:
    """Whether reading all of them whole takes seconds."""
    if len(files) > FEW_FILES:
        return False
    return sum(path.stat().st_size for path in files if path.is_file()) <= FEW_BYTES


def ask_image(path: Path, question: Callable[[Image.Image], AnswerT]) -> AnswerT:
    """Return question(image), called while the image is open. Raises UserError like decode."""
    answers: list[AnswerT] = []
    _open(path, lambda image: answers.append(question(image))).close()
    return answers[0]


def _open(path: Path, use: Callable[[Image.Image], Any]) -> Image.Image:
    if path.exists() and not path.is_file():  # opening a named pipe would block
        raise UserError("is not a regular file", path, remedy="replace it or remove it from the list")
    try:
        image = Image.open(path)
        use(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        refused = refusal(error, path, "read") if isinstance(error, OSError) else None
        if refused:
            raise refused from error
        remedy = "replace it or remove it from the list"
        raise UserError(f"cannot be read as an image ({error})", path, remedy=remedy) from error
    return image


def resize_by_pil(array: np.ndarray, size: Sequence[int], resampling: Image.Resampling) -> np.ndarray:
    """Resize (H, W[, 3]) uint8 -> new (*size[, 3]) with Pillow, as published; other libraries round differently."""
    height, width = size
    return np.array(Image.fromarray(array).resize((width, height), resampling))


def write_label_png(path: Path, label: np.ndarray, *, palette: bool = True, made_from: str = "") -> None:
    """Write (H, W) uint8 indices as a PNG with the VOC palette, or as a grey PNG for readers that ignore palettes.

    made_from: digest of its sources, see utils.files.sources.
    """
    if label.ndim != 2 or label.dtype != np.uint8:
        raise ValueError(f"{path}: expected a label map (H, W) uint8, not {label.shape} {label.dtype}")
    image = Image.fromarray(label)
    if palette:
        image.putpalette(PALETTE.flatten().tolist())
    with atomic_path(path, made_from=made_from) as temporary:
        image.save(temporary)


def write_image(
    path: Path,
    image: Image.Image | np.ndarray,
    *,
    quality: int = 95,
    compress_level: int | None = None,
    made_from: str = "",
) -> None:
    """Write an RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W) image. The suffix selects the format.

    quality: for JPEG. compress_level: for PNG, 0 (fast) to 9 (small); None is Pillow's default. made_from: digest of
    its sources, see utils.files.sources.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    options: dict[str, Any] = {"quality": quality} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    if compress_level is not None:
        options["compress_level"] = compress_level
    with atomic_path(path, made_from=made_from) as temporary:
        image.save(temporary, **options)
