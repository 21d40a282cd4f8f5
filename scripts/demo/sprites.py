"""Draws the objects of the demo data: four large bodies, each shared by two classes, and a small distinctive part per
class.

Shapes are functions of the object's own coordinates: x to the right, y down, a body about two units long.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

CLASS_NAMES = ("ferry", "bus", "cow", "bear", "airship", "fish", "lighthouse", "castle")
BODY_OF_CLASS = ("hull", "hull", "torso", "torso", "spindle", "spindle", "tower", "tower")
PART_SHARE = (0.14, 0.20)  # area of the distinctive part / area of the body

BODY, PART = 1, 2  # values of Sprite.regions
PIXELS_PER_UNIT, HALF_SPAN = 110, 1.5

Grid = np.ndarray
Shape = Callable[[Grid, Grid], Grid]


@dataclass(frozen=True)
class Sprite:
    """One object before it is placed: colours (S, S, 3) float32 in 0..255, regions (S, S) uint8 0 / BODY / PART."""

    colours: np.ndarray
    regions: np.ndarray


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour (3,) float32 in 0..255 from hue (wraps around), saturation and value in 0..1."""
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return 255 * np.array(rgb, np.float32)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: tuple[float, float]) -> np.ndarray:
    """Draw a random field (height, width) float32 of about unit deviation. cells: number of bumps down and across."""
    rows, columns = (max(2, round(count)) for count in cells)
    small = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def ellipse(x: Grid, y: Grid, centre: tuple[float, float], radii: tuple[float, float]) -> Grid:
    """Return which points are inside an upright ellipse."""
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


def box(x: Grid, y: Grid, left: float, right: float, top: float, bottom: float) -> Grid:
    """Return which points are inside an upright rectangle."""
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _hull(x: Grid, y: Grid) -> Grid:
    return box(x, y, -1, 1, -0.45, 0.45) & (x - 0.3 * np.abs(y) < 0.98) & (x + y > -1.3) & (y - x < 1.3)


def _torso(x: Grid, y: Grid) -> Grid:
    legs = sum(box(x, y, left, left + 0.2, 0, 0.8) for left in (-0.75, -0.45, 0.2, 0.5)) > 0
    return ellipse(x, y, (0, 0), (0.92, 0.47)) | legs


def _spindle(x: Grid, y: Grid) -> Grid:
    fins = (x > -1.15) & (x < -0.6) & (np.abs(y) < 0.1 - 0.7 * (x + 0.6))
    return ellipse(x, y, (0, 0), (1.0, 0.45)) | fins


def _tower(x: Grid, y: Grid) -> Grid:
    return ((np.abs(y) < 0.95) & (np.abs(x) < 0.42 + 0.13 * y)) | box(x, y, -0.65, 0.65, 0.8, 1.0)


def _size(grid: Grid) -> tuple[int, int]:
    """Return height and width."""
    height, width = grid.shape
    return height, width


def _texture(body: str, x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Draw brightness factors of a body's pattern: windows, blotches, long stripes or courses of stone."""
    phase, period = rng.uniform(0, 1), rng.uniform(0.85, 1.2)
    if body == "hull":
        windows = ((x / (0.34 * period) + phase) % 1 > 0.3) & (y > -0.3) & (y < -0.02)
        return np.where(windows, 0.45, 1.0)
    if body == "torso":
        return np.where(smooth_noise(rng, *_size(x), (9, 9)) > 0.45, 0.62, 1.0)
    if body == "spindle":
        return 0.85 + 0.2 * np.sin(2 * np.pi * (y / (0.22 * period) + phase))
    course = (y / (0.2 * period) + phase) % 1
    joint = (x / 0.3 + 0.5 * np.floor(y / (0.2 * period) + phase)) % 1
    return np.where((course < 0.14) | (joint < 0.1), 0.6, 1.0)


# Hue, saturation and value ranges of each body. They intentionally overlap with each other and the backgrounds.
BODIES: dict[str, tuple[Shape, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]]] = {
    "hull": (_hull, ((-0.03, 0.16), (0.10, 0.50), (0.50, 0.90))),
    "torso": (_torso, ((0.02, 0.14), (0.15, 0.50), (0.40, 0.80))),
    "spindle": (_spindle, ((0.45, 0.68), (0.08, 0.45), (0.45, 0.85))),
    "tower": (_tower, ((0.00, 0.20), (0.04, 0.30), (0.50, 0.90))),
}


@dataclass(frozen=True)
class Part:
    """A distinctive part: its shape in -1..1, the region of its second colour, the range of its centre on the body."""

    shape: Shape
    is_second_colour: Shape
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]  # hue, saturation, value
    centre: tuple[tuple[float, float], tuple[float, float]]  # x range, y range


def _checks(x: Grid, y: Grid) -> Grid:
    return (np.floor(2.5 * x) + np.floor(2.5 * y)) % 2 == 0


def _cow_head(x: Grid, y: Grid) -> Grid:
    horns = (np.abs(np.abs(x) - 0.6) < 0.28 * (y + 1.0)) & (y < -0.35) & (y > -1)
    return ellipse(x, y, (0, 0.2), (0.6, 0.8)) | horns


def _bear_head(x: Grid, y: Grid) -> Grid:
    return ellipse(x, y, (0, 0.15), (0.8, 0.75)) | ellipse(np.abs(x), y, (0.65, -0.6), (0.35, 0.35))


def _lamp(x: Grid, y: Grid) -> Grid:
    return box(x, y, -0.6, 0.6, -0.3, 1) | ((np.abs(x) < 0.9 * (y + 1)) & (y < -0.3) & (y > -1))


PARTS: dict[str, Part] = {
    "ferry": Part(  # funnel with red and white bands
        lambda x, y: (np.abs(x) < 0.62 + 0.12 * y) & (np.abs(y) < 1),
        lambda x, y: (y * 2.2 + 0.2) % 1 < 0.45,
        ((0.98, 0.85, 0.80), (0.10, 0.04, 0.97)),
        ((0.25, 0.80), (-0.62, -0.46)),
    ),
    "bus": Part(  # wheel: dark tyre, orange hub
        lambda x, y: ellipse(x, y, (0, 0), (1, 1)),
        lambda x, y: ellipse(x, y, (0, 0), (0.55, 0.55)) & ~ellipse(x, y, (0, 0), (0.2, 0.2)),
        ((0.70, 0.20, 0.12), (0.08, 0.90, 0.95)),
        ((0.35, 0.80), (0.38, 0.50)),
    ),
    "cow": Part(  # black and white face with horns
        _cow_head,
        lambda x, y: (np.abs(x) < 0.25) | (y < -0.45),
        ((0.05, 0.10, 0.12), (0.10, 0.06, 0.97)),
        ((0.80, 0.98), (-0.50, -0.10)),
    ),
    "bear": Part(  # dark red face with round ears and a light muzzle
        _bear_head,
        lambda x, y: ellipse(x, y, (0, 0.45), (0.45, 0.35)),
        ((0.99, 0.75, 0.42), (0.11, 0.50, 0.95)),
        ((0.80, 0.98), (-0.50, -0.10)),
    ),
    "airship": Part(  # gondola with yellow and black checks
        lambda x, y: box(x, y, -1, 1, -0.5, 0.5) & (np.abs(x) + 0.5 * y < 1),
        _checks,
        ((0.14, 0.90, 0.95), (0.70, 0.20, 0.12)),
        ((0.05, 0.60), (0.42, 0.52)),
    ),
    "fish": Part(  # face with green and pink stripes across
        lambda x, y: ((np.abs(y) < 0.55 * (1.1 - x)) & (np.abs(x) < 1)) & ellipse(x, y, (0, 0), (1.05, 0.95)),
        lambda x, y: (x * 2 + 0.3) % 1 < 0.5,
        ((0.38, 0.75, 0.70), (0.92, 0.55, 0.95)),
        ((0.74, 0.95), (-0.08, 0.08)),
    ),
    "lighthouse": Part(  # lamp: yellow panes, purple roof and bars
        _lamp,
        lambda x, y: (y < -0.25) | ((x * 2.4 + 0.5) % 1 < 0.25),
        ((0.15, 0.70, 1.00), (0.78, 0.65, 0.50)),
        ((-0.12, 0.12), (-1.10, -0.92)),
    ),
    "castle": Part(  # pennant with blue and white bands
        lambda x, y: ((x > -0.8) & (np.abs(y + 0.35) < 0.32 * (1.2 - x)) & (x < 1)) | box(x, y, -1, -0.78, -1, 1),
        lambda x, y: (x > -0.78) & ((x * 1.8) % 1 < 0.5),
        ((0.62, 0.85, 0.75), (0.10, 0.03, 0.97)),
        ((0.05, 0.35), (-1.15, -0.98)),
    ),
}


@cache
def _grid() -> tuple[Grid, Grid]:
    ticks = np.arange(-HALF_SPAN, HALF_SPAN, 1 / PIXELS_PER_UNIT, dtype=np.float32)
    return np.meshgrid(ticks, ticks)


@cache
def _unit_area(name: str) -> float:
    ticks = np.linspace(-1.2, 1.2, 241, dtype=np.float32)
    return float(PARTS[name].shape(*np.meshgrid(ticks, ticks)).sum()) * 0.01**2


def _jitter(colour: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    hue, saturation, value = np.array(colour) + rng.normal(0, (0.012, 0.06, 0.05))
    return hsv(hue, saturation, value)


def _paint_part(name: str, colours: np.ndarray, regions: np.ndarray, rng: np.random.Generator) -> None:
    """Paint the distinctive part of a class over a body, in place, with an area in PART_SHARE."""
    part, (x, y) = PARTS[name], _grid()
    body_area = np.count_nonzero(regions) / PIXELS_PER_UNIT**2
    size = np.sqrt(rng.uniform(*PART_SHARE) * body_area / _unit_area(name))
    centre_x, centre_y = (rng.uniform(*limits) for limits in part.centre)
    turn = rng.uniform(-0.3, 0.3)
    across, down = (x - centre_x) / size, (y - centre_y) / size
    p, q = np.cos(turn) * across + np.sin(turn) * down, np.cos(turn) * down - np.sin(turn) * across
    inside = part.shape(p, q)
    first, second = (_jitter(colour, rng) for colour in part.colours)
    colours[inside] = np.where(part.is_second_colour(p, q)[inside][:, None], second, first)
    regions[inside] = PART


def draw_sprite(name: str, rng: np.random.Generator) -> Sprite:
    """Draw one object of the named class, upright and facing right, with its own colours, texture and shading."""
    x, y = _grid()
    body = BODY_OF_CLASS[CLASS_NAMES.index(name)]
    shape, ranges = BODIES[body]
    stretch_x, stretch_y = rng.uniform(0.9, 1.1, 2)
    regions = np.where(shape(x / stretch_x, y / stretch_y), BODY, 0).astype(np.uint8)
    factors = _texture(body, x, y, rng) * (1 + 0.07 * smooth_noise(rng, *_size(x), (14, 14)))
    colours = hsv(*(rng.uniform(*limits) for limits in ranges)) * factors.astype(np.float32)[..., None]
    _paint_part(name, colours, regions, rng)
    light = rng.uniform(-0.12, 0.12, 2)
    colours *= (1 + light[0] * x + light[1] * y)[..., None].astype(np.float32)
    return Sprite(np.clip(colours, 0, 255).astype(np.float32), regions)
