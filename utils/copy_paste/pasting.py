"""Online copy-paste of foreground objects. CDA: Su et al., ICCV 2021; CDA+ also chooses the position by saliency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from utils.copy_paste.bank import SALIENT, Foreground, ForegroundBank

MAX_SHARE = 0.7  # fraction of the image's sides to which an object is shrunk before it is scaled
SCALES = (0.8, 1.2)
PLACES = 10  # positions that CDA+ tries


class Pasted(NamedTuple):
    """image (H, W, 3) and saliency (H, W) uint8 with the object pasted; mask (H, W) bool of the pasted pixels."""

    image: np.ndarray
    saliency: np.ndarray | None
    mask: np.ndarray


def paste(
    image: np.ndarray,
    saliency: np.ndarray | None,
    foreground: Foreground,
    *,
    rng: np.random.Generator,
    max_overlap: float | None = None,
    places: int = PLACES,
    rotation: float = 0.0,
    feather: float = 0.0,
) -> Pasted:
    """Paste an object at a random position without changing the inputs. CDA, sec. 3.2.

    image: (H, W, 3) uint8 RGB. saliency: (H, W) uint8 or None. The object is rotated by up to `rotation` degrees in
    either direction, shrunk to 0.7 of the image's sides, and scaled by 0.8 to 1.2. Its pixels inside its mask with a
    saliency above 200 are pasted, and their saliency is pasted into the map. max_overlap: None takes one position
    (CDA). Otherwise the first of up to `places` positions at which less than this fraction of the object covers salient
    pixels of the image, or the position with the smallest fraction (CDA+). feather: width in pixels over which the
    object's edge is blended, 0 is a hard edge.
    Raises ValueError for maps that differ in size from the image, and for max_overlap without saliency.
    """
    _check(image, saliency, max_overlap)
    color, own_saliency, mask = _resized(_turned(foreground, rng.uniform(-rotation, rotation)), image.shape[:2], rng)
    top, left = _choose_place(mask, image.shape[:2], saliency, rng, max_overlap=max_overlap, places=places)
    region = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
    image, where = image.copy(), np.zeros(image.shape[:2], bool)
    where[region] = mask
    opacity = _opacity(mask, feather)
    _blend(image[region], color, mask, opacity)
    if saliency is not None:
        saliency = saliency.copy()
        _blend(saliency[region], own_saliency, mask, opacity)
    return Pasted(image, saliency, where)


def _check(image: np.ndarray, saliency: np.ndarray | None, max_overlap: float | None) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an image (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
    if saliency is None:
        if max_overlap is not None:
            raise ValueError(f"max_overlap={max_overlap} needs the image's saliency: pass it, or paste without a bound")
    elif saliency.shape != image.shape[:2] or saliency.dtype != np.uint8:
        raise ValueError(f"expected saliency of the image's size {image.shape[:2]} in uint8, not {saliency.shape}")


class _Object(NamedTuple):
    color: np.ndarray  # (h, w, 3) uint8
    saliency: np.ndarray  # (h, w) uint8
    mask: np.ndarray  # (h, w) bool


def _turned(foreground: Foreground, degrees: float) -> _Object:
    """Return the object with its salient mask, rotated about its centre on a canvas that contains all of it."""
    whole = _Object(foreground.image, foreground.saliency, foreground.mask & (foreground.saliency > SALIENT))
    if degrees == 0:
        return whole
    height, width = whole.mask.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cos, sin = np.abs(matrix[0, :2])
    size = int(np.ceil(width * cos + height * sin)), int(np.ceil(width * sin + height * cos))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2

    def turn(array: np.ndarray, interpolation: int) -> np.ndarray:
        return cv2.warpAffine(array, matrix, size, flags=interpolation)

    return _Object(
        turn(whole.color, cv2.INTER_LINEAR),
        turn(whole.saliency, cv2.INTER_NEAREST),
        turn(whole.mask.astype(np.uint8), cv2.INTER_NEAREST) > 0,
    )


def _resized(whole: _Object, size: tuple[int, int], rng: np.random.Generator) -> _Object:
    height, width = whole.mask.shape
    factor = min(1.0, MAX_SHARE * size[0] / height, MAX_SHARE * size[1] / width) * rng.uniform(*SCALES)
    new = min(size[1], max(1, round(width * factor))), min(size[0], max(1, round(height * factor)))
    color = cv2.resize(whole.color, new, interpolation=smooth_interpolation(factor))
    saliency = cv2.resize(whole.saliency, new, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(whole.mask.view(np.uint8), new, interpolation=cv2.INTER_NEAREST)
    return _Object(color, saliency, mask.view(bool))


def smooth_interpolation(factor: float) -> int:
    """Return OpenCV's interpolation for resizing by `factor`: bilinear (faster than area) until it aliases."""
    return cv2.INTER_AREA if factor < 0.5 else cv2.INTER_LINEAR


def _choose_place(
    mask: np.ndarray,
    size: tuple[int, int],
    saliency: np.ndarray | None,
    rng: np.random.Generator,
    *,
    max_overlap: float | None,
    places: int,
) -> tuple[int, int]:
    """Choose top and left of the object (h, w) in an image of `size`. All positions are always drawn from rng."""
    count = 1 if max_overlap is None else places
    tops = rng.integers(0, size[0] - mask.shape[0] + 1, count)
    lefts = rng.integers(0, size[1] - mask.shape[1] + 1, count)
    if max_overlap is None or saliency is None:  # _check only allows both together
        return int(tops[0]), int(lefts[0])
    salient, area = saliency > SALIENT, max(1, int(np.count_nonzero(mask)))
    best, least = (0, 0), np.inf
    for top, left in zip(tops.tolist(), lefts.tolist()):
        under = salient[top : top + mask.shape[0], left : left + mask.shape[1]]
        overlap = np.count_nonzero(under & mask) / area
        if overlap < least:
            best, least = (top, left), overlap
        if least < max_overlap:
            break
    return best


def _opacity(mask: np.ndarray, feather: float) -> np.ndarray | None:
    """Return (h, w) float32 that rises over `feather` pixels from the edge into the mask; None for a hard edge."""
    if feather == 0:
        return None
    # zeros around the box, so that an object that fills it also has an edge there
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.minimum(depth / (1 + feather), 1.0)


def _blend(target: np.ndarray, source: np.ndarray, mask: np.ndarray, opacity: np.ndarray | None) -> None:
    """Write source into target (h, w[, 3]) where the mask is true."""
    if opacity is not None:
        opacity = opacity.reshape(opacity.shape + (1,) * (target.ndim - 2))
        source = np.rint(opacity * source + (1 - opacity) * target).astype(np.uint8)
    # OpenCV writes through the view; numpy's masked copy is fifty times slower
    cv2.copyTo(source, mask.view(np.uint8), target)


@dataclass(frozen=True)
class Twin:
    """An image with a pasted object. tags: the image's, and the object's if one was pasted."""

    image: np.ndarray
    saliency: np.ndarray | None
    mask: np.ndarray | None
    tag: int | None


@dataclass(frozen=True)
class Paster:
    """Draws an object of a class that an image does not show and pastes it. Parameters: see paste."""

    bank: ForegroundBank
    probability: float = 1.0
    max_overlap: float | None = None
    rotation: float = 0.0
    feather: float = 0.0

    def __call__(
        self, image: np.ndarray, saliency: np.ndarray | None, tags: Sequence[int], *, rng: np.random.Generator
    ) -> Twin:
        """Return the image's twin. It is the image itself by chance, or if the bank has no other classes."""
        absent = [tag for tag in self.bank.tags if tag not in tags]
        foreground = self.bank.draw(absent, rng) if rng.random() < self.probability else None
        if foreground is None:
            return Twin(image, saliency, None, None)
        pasted = paste(
            image,
            saliency,
            foreground,
            rng=rng,
            max_overlap=self.max_overlap,
            rotation=self.rotation,
            feather=self.feather,
        )
        return Twin(*pasted, foreground.tag)
