"""Images, saliency maps and label maps on disk."""

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


def find_image(folder: Path, name: str) -> Path:
    """The image called `name` in `folder`, whatever its suffix. Raises UserError."""
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise UserError("no such image", folder / name, f"its suffix is one of {', '.join(IMAGE_SUFFIXES[:3])}")


def image_files(folder: Path) -> dict[str, Path]:
    """Every image of `folder` by its name, as find_image would find it, from one look at the folder."""
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
    """The image, or the name it would usually have, so that all missing ones can be reported at once."""
    try:
        return find_image(folder, name)
    except UserError:
        return folder / f"{name}{suffix}"


def missing_files(what: str, folder: Path, names: Sequence[str], *, remedy: str = "") -> list[str]:
    """A line that says which of the named images are missing from `folder`, whatever their suffix; empty if none."""
    remedy = f" ({remedy})" if remedy else ""
    if not folder.is_dir():
        return [f"{what}: put them into {folder}{remedy}"]
    there = image_files(folder)
    missing = [name for name in names if name not in there]
    if not missing:
        return []
    return [f"{what}: {len(missing)} of {len(names)} are missing in {folder} ({first_few(missing)}){remedy}"]


def read_rgb(path: Path) -> Image.Image:
    """The photograph as an RGB PIL image. Raises UserError that names the file if it cannot be decoded."""
    return decode(path).convert("RGB")


def read_gray(path: Path) -> Image.Image:
    """A grey map (saliency, attention) as an L PIL image, see maps.saliency_of. Raises UserError for colours."""
    return Image.fromarray(saliency_of(decode(path), path)[0])


def read_rgba(path: Path) -> np.ndarray:
    """An image with its mask as alpha, (H, W, 4) uint8. Raises UserError where it has no alpha."""
    image = decode(path)
    if image.mode != "RGBA":
        raise UserError(f"is an {image.mode} image", path, "it must be RGBA, with the mask as alpha")
    return np.asarray(image)


def read_label(path: Path) -> np.ndarray:
    """Label map (H, W) uint8, see maps.label_of; 255 is ignored. Raises UserError on RGB masks."""
    image, bits = decode_with_bits(path)
    return label_of(image, path, bits)[0]


def decode_with_bits(path: Path) -> tuple[Image.Image, str]:
    """The image as decode reads it, and Pillow's raw mode of the file, which says how many bits a pixel has."""
    bits = ""

    def load(image: Image.Image) -> None:
        nonlocal bits
        tiles = getattr(image, "tile", None)
        bits = str(tiles[0][3]) if tiles else ""
        image.load()

    return _open(path, load), bits


def decode(path: Path) -> Image.Image:
    """The image as it is stored, read to its end. Raises UserError that names the file if it cannot be decoded."""
    return _open(path, lambda image: image.load())


def open_header(path: Path) -> Image.Image:
    """Size and mode of the image, closed again before its pixels are read. Raises UserError as decode does."""
    return _open(path, lambda image: image.close())


def are_few(files: Sequence[Path]) -> bool:
    """Whether reading all of them whole takes seconds."""
    if len(files) > FEW_FILES:
        return False
    return sum(path.stat().st_size for path in files if path.is_file()) <= FEW_BYTES


def ask_image(path: Path, question: Callable[[Image.Image], AnswerT]) -> AnswerT:
    """What the question finds in the image before it is closed. Raises UserError as decode does."""
    answers: list[AnswerT] = []
    _open(path, lambda image: answers.append(question(image))).close()
    return answers[0]


def _open(path: Path, use: Callable[[Image.Image], Any]) -> Image.Image:
    if path.exists() and not path.is_file():  # opening a pipe would wait for its other end
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
    """(H, W[, 3]) uint8 -> (*size[, 3]), a new array, as published code resizes: other libraries round otherwise."""
    height, width = size
    return np.array(Image.fromarray(array).resize((width, height), resampling))


def write_label_png(path: Path, label: np.ndarray, *, palette: bool = True, made_from: str = "") -> None:
    """Writes (H, W) uint8 indices as a PNG with the VOC palette, or as a grey one for readers that ignore palettes.

    made_from: the digest of its sources, see utils.files.sources.
    """
    if label.ndim != 2 or label.dtype != np.uint8:
        raise ValueError(f"{path}: a label map is (H, W) uint8, not {label.shape} {label.dtype}")
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
    """Writes an RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W) image; the suffix decides the format.

    quality is JPEG's, compress_level (0 quick to 9 small) PNG's; None is Pillow's own. made_from: the digest of its
    sources, see utils.files.sources.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    options: dict[str, Any] = {"quality": quality} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    if compress_level is not None:
        options["compress_level"] = compress_level
    with atomic_path(path, made_from=made_from) as temporary:
        image.save(temporary, **options)
