"""Online copy-paste of foreground objects. CDA: Su et al., ICCV 2021; CDA+ also chooses the place by saliency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from utils.copy_paste.bank import SALIENT, Foreground, ForegroundBank

MAX_SHARE = 0.7  # of either side of the image, to which an object is shrunk before it is scaled
SCALES = (0.8, 1.2)
PLACES = 10  # that CDA+ tries


class Pasted(NamedTuple):
    """image (H, W, 3) and saliency (H, W) uint8 with the object in them, and mask (H, W) bool of what was pasted."""

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
    """Pastes an object at a random place and leaves its inputs alone. CDA, sec. 3.2.

    image (H, W, 3) uint8 RGB, saliency (H, W) uint8 or None. The object is turned by up to `rotation` degrees either
    way, shrunk to 0.7 of either side of the image, scaled by 0.8 to 1.2; its pixels that both its mask and its
    saliency (above 200) show go into the image, and their saliency into the map. `max_overlap` None takes one place
    (CDA); else the first of up to `places` where less than this share of the object lies on salient pixels of the
    image, or the one with the least (CDA+). `feather` pixels of the object's rim fade in, 0 is a hard edge.
    Raises ValueError for maps of another size than the image, and for max_overlap without saliency.
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
        raise ValueError(f"an image is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
    if saliency is None:
        if max_overlap is not None:
            raise ValueError(f"max_overlap={max_overlap} needs the image's saliency: give it, or paste without a bound")
    elif saliency.shape != image.shape[:2] or saliency.dtype != np.uint8:
        raise ValueError(f"saliency of an image {image.shape} is uint8 and as large, not {saliency.shape}")


class _Object(NamedTuple):
    color: np.ndarray  # (h, w, 3) uint8
    saliency: np.ndarray  # (h, w) uint8
    mask: np.ndarray  # (h, w) bool


def _turned(foreground: Foreground, degrees: float) -> _Object:
    """The object with the mask that is trusted, turned about its centre on a canvas that holds all of it."""
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
    """OpenCV's way of resizing a picture by `factor`: bilinear, five times quicker than areas, until it aliases."""
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
    """Top and left of the object (h, w) in an image of `size`. All places are drawn, whichever is taken."""
    count = 1 if max_overlap is None else places
    tops = rng.integers(0, size[0] - mask.shape[0] + 1, count)
    lefts = rng.integers(0, size[1] - mask.shape[1] + 1, count)
    if max_overlap is None or saliency is None:  # _check lets both pass only together
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
    """(h, w) float32 that rises over the rim's `feather` pixels, inside the mask alone; None for a hard edge."""
    if feather == 0:
        return None
    # zeros around the box, so that an object that fills it has a rim there too
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.minimum(depth / (1 + feather), 1.0)


def _blend(target: np.ndarray, source: np.ndarray, mask: np.ndarray, opacity: np.ndarray | None) -> None:
    """Writes source into target (h, w[, 3]) where the mask is true."""
    if opacity is not None:
        opacity = opacity.reshape(opacity.shape + (1,) * (target.ndim - 2))
        source = np.rint(opacity * source + (1 - opacity) * target).astype(np.uint8)
    # OpenCV writes through the view; numpy's masked copy takes fifty times as long
    cv2.copyTo(source, mask.view(np.uint8), target)


@dataclass(frozen=True)
class Twin:
    """An image with an object pasted into it: tags are those of the image and, where one was found, the object's."""

    image: np.ndarray
    saliency: np.ndarray | None
    mask: np.ndarray | None
    tag: int | None


@dataclass(frozen=True)
class Paster:
    """Draws an object of a class that an image does not have and pastes it. See `paste` for the numbers."""

    bank: ForegroundBank
    probability: float = 1.0
    max_overlap: float | None = None
    rotation: float = 0.0
    feather: float = 0.0

    def __call__(
        self, image: np.ndarray, saliency: np.ndarray | None, tags: Sequence[int], *, rng: np.random.Generator
    ) -> Twin:
        """The image's twin. It is the image itself where chance, or a bank without other classes, wants no object."""
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
