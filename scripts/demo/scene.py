"""Composes the pictures of the demo data: a background, clutter, one to three objects, their mask and saliency."""

from dataclasses import dataclass

import cv2
import numpy as np

from scripts.demo.backgrounds import FREE_BACKGROUNDS, add_clutter, draw_background
from scripts.demo.saliency import imperfect_saliency
from scripts.demo.sprites import CLASS_NAMES, HALF_SPAN, PART, PIXELS_PER_UNIT, Sprite, draw_sprite
from utils.data.catalog import IGNORE_INDEX

# Classes that nearly always appear on one background, which few other pictures have: plain CAMs spill onto it.
BACKGROUND_BOUND = {"ferry": "water", "cow": "grass", "airship": "sky"}
BOUND_SHARE = 0.92  # fraction of a bound class's pictures with its background
FREE_SHARE = 0.94  # fraction of pictures without a bound class that have none of the bound backgrounds

SIDES = (128, 160)
OVERSAMPLING = 3  # odd, so that each block has a central pixel, which masks use
NUM_OBJECTS_ODDS = (0.46, 0.38, 0.16)
AREA_OF_COUNT = ((0.16, 0.45), (0.12, 0.28), (0.08, 0.18))  # object area / picture area, by number of objects
MIN_VISIBLE, MIN_PART_VISIBLE = 0.75, 0.85
NUM_TRIES = 25


@dataclass(frozen=True)
class Scene:
    """One picture: image (H, W, 3) RGB, mask (H, W) with 255 rings, saliency (H, W), all uint8; zero-based tags.

    is_object and is_part (H, W) bool: ground truth without the rings.
    """

    image: np.ndarray
    mask: np.ndarray
    saliency: np.ndarray
    tags: tuple[int, ...]
    background: str
    is_object: np.ndarray
    is_part: np.ndarray


class _Canvas:
    """The oversampled picture: colours, and per pixel the object (1, 2, ..., 0 for none) and its region."""

    def __init__(self, colours: np.ndarray) -> None:
        self.colours = colours
        self.instance: np.ndarray = np.zeros(colours.shape[:2], np.uint8)
        self.region = np.zeros(colours.shape[:2], np.uint8)
        self.areas: list[tuple[float, float]] = []  # total area and part area of each object without occlusion

    def try_paste(self, sprite: Sprite, matrix: np.ndarray) -> bool:
        """Paste a sprite unless it would be cut off too much, or occlude an object below it too much."""
        size = self.instance.shape[::-1]
        region = cv2.warpAffine(sprite.regions, matrix, size, flags=cv2.INTER_NEAREST)
        magnification = abs(np.linalg.det(matrix[:, :2]))
        areas = [*self.areas, tuple(np.count_nonzero(sprite.regions >= r) * magnification for r in (1, PART))]
        instance = np.where(region > 0, len(areas), self.instance).astype(np.uint8)
        regions = np.where(region > 0, region, self.region)
        for index, (whole, part) in enumerate(areas, start=1):
            seen = regions[instance == index]
            if seen.size < MIN_VISIBLE * whole or np.count_nonzero(seen == PART) < MIN_PART_VISIBLE * part:
                return False
        colours = cv2.warpAffine(sprite.colours, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.colours = np.where(region[..., None] > 0, colours, self.colours)
        self.instance, self.region, self.areas = instance, regions, areas
        return True


def _choose_content(rng: np.random.Generator) -> tuple[list[int], str]:
    """Choose class numbers (distinct for most pictures) and the background of one picture."""
    bound = [CLASS_NAMES.index(name) for name in BACKGROUND_BOUND]
    unbound = [number for number in range(len(CLASS_NAMES)) if number not in bound]
    count = 1 + rng.choice(len(NUM_OBJECTS_ODDS), p=NUM_OBJECTS_ODDS)
    # bound classes are only drawn as first object; favouring them there balances the tags
    first = int(rng.choice(bound)) if rng.random() < 0.55 else int(rng.choice(unbound))
    others = rng.permutation([number for number in unbound if number != first])[: count - 1].tolist()
    if first in bound:
        own = BACKGROUND_BOUND[CLASS_NAMES[first]]
        return [first, *others], own if rng.random() < BOUND_SHARE else str(rng.choice(FREE_BACKGROUNDS))
    kinds = FREE_BACKGROUNDS if rng.random() < FREE_SHARE else tuple(BACKGROUND_BOUND.values())
    return [first, *others], str(rng.choice(kinds))


def _random_placement(sprite: Sprite, area_share: float, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a random matrix (2, 3) from sprite to canvas pixels. size: (width, height) of the canvas."""
    angle, mirror = np.deg2rad(rng.uniform(-28, 28)), rng.choice([-1.0, 1.0])
    scale = np.sqrt(area_share * size[0] * size[1] / np.count_nonzero(sprite.regions))
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirror, 1.0])
    rows, columns = np.nonzero(sprite.regions[::4, ::4])
    points = linear @ (4.0 * np.stack([columns, rows]) - HALF_SPAN * PIXELS_PER_UNIT)
    low, high = points.min(axis=1), points.max(axis=1)
    scale = min(scale, float(np.min(np.array(size) / (high - low))))  # no larger than the picture
    slack = np.array(size) - scale * (high - low)
    corner = rng.uniform(0, 1, 2) * slack
    shift = corner - scale * low - scale * linear @ np.full(2, HALF_SPAN * PIXELS_PER_UNIT)
    return np.column_stack([scale * linear, shift])


def _place_objects(canvas: _Canvas, numbers: list[int], rng: np.random.Generator) -> list[int]:
    """Paste objects that fit and return their class numbers. The first always fits, since nothing occludes it."""
    placed: list[int] = []
    height, width = canvas.instance.shape
    area_range = AREA_OF_COUNT[len(numbers) - 1]
    for number in numbers:
        sprite = draw_sprite(CLASS_NAMES[number], rng)
        share = np.exp(rng.uniform(*np.log(area_range)))
        tries = (_random_placement(sprite, share, (width, height), rng) for _ in range(NUM_TRIES))
        if any(canvas.try_paste(sprite, matrix) for matrix in tries):
            placed.append(number)
    return placed


def with_rings(labels: np.ndarray) -> np.ndarray:
    """Mark one pixel around every object as ignored, like VOC: wherever a neighbour has a greater label."""
    grown = cv2.dilate(labels, np.ones((3, 3), np.uint8))
    return np.where(grown > labels, IGNORE_INDEX, labels).astype(np.uint8)


def _photograph(colours: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Reduce the drawing to the picture's size and add exposure, colour cast and sensor noise."""
    image = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
    image = 128 + (image - 128) * rng.uniform(0.8, 1.1) + rng.uniform(-14, 14)
    image = image * rng.uniform(0.94, 1.06, 3) + rng.normal(0, rng.uniform(3, 9), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one picture with its mask and saliency. All randomness comes from rng."""
    width, height = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
    numbers, background = _choose_content(rng)
    canvas = _Canvas(draw_background(background, height * OVERSAMPLING, width * OVERSAMPLING, rng))
    clutter = add_clutter(canvas.colours, rng)
    placed = _place_objects(canvas, numbers, rng)

    centres = slice(OVERSAMPLING // 2, None, OVERSAMPLING)
    instance, region, clutter = (plane[centres, centres] for plane in (canvas.instance, canvas.region, clutter))
    labels = np.array([0, *(number + 1 for number in placed)], np.uint8)[instance]
    return Scene(
        image=_photograph(canvas.colours, (width, height), rng),
        mask=with_rings(labels),
        saliency=imperfect_saliency(instance, clutter, rng),
        tags=tuple(sorted(set(placed))),
        background=background,
        is_object=instance > 0,
        is_part=region == PART,
    )
