"""Backgrounds and unlabelled clutter of the demo data, as float32 RGB pictures in 0..255."""

import cv2
import numpy as np

from scripts.demo.sprites import hsv, smooth_noise

FREE_BACKGROUNDS = ("brick", "sand", "stripes", "concrete", "leaves")  # backgrounds for any class


def _axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns x and rows y (H, W) float32 in units of 160 pixels, so patterns do not scale with the picture."""
    return np.meshgrid(np.arange(width, dtype=np.float32) / 160, np.arange(height, dtype=np.float32) / 160)


def _water(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(height, width)
    bend = 0.06 * smooth_noise(rng, height, width, (4, 5)) + 0.02 * np.sin(9 * x)
    wave = np.sin(2 * np.pi * rng.uniform(5, 8) * (y + bend))
    base = hsv(rng.uniform(0.48, 0.60), rng.uniform(0.35, 0.65), rng.uniform(0.45, 0.75))
    return base * (1 + 0.18 * wave + 0.06 * smooth_noise(rng, height, width, (12, 12)))[..., None]


def _grass(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    blades = smooth_noise(rng, height, width, (14, 90))
    base = hsv(rng.uniform(0.22, 0.34), rng.uniform(0.35, 0.65), rng.uniform(0.40, 0.70))
    return base * (1 + 0.16 * blades + 0.10 * smooth_noise(rng, height, width, (4, 4)))[..., None]


def _sky(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    _, y = _axes(height, width)
    base = hsv(rng.uniform(0.54, 0.64), rng.uniform(0.25, 0.55), rng.uniform(0.75, 0.95))
    clouds = smooth_noise(rng, height, width, (4, 3)) + 0.4 * smooth_noise(rng, height, width, (10, 7))
    white = np.clip(0.25 * y / y.max() + 0.5 * np.clip(clouds, 0, 1.6), 0, 0.95)[..., None]
    return base * (1 - white) + 245 * white


def _brick(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(height, width)
    row = np.floor(y * (rate := rng.uniform(4, 7)))
    joint = ((y * rate) % 1 < 0.14) | ((x * rate / 2 + 0.5 * (row % 2)) % 1 < 0.07)
    base = hsv(rng.uniform(-0.02, 0.10), rng.uniform(0.15, 0.55), rng.uniform(0.40, 0.75))
    grain = 1 + 0.08 * smooth_noise(rng, height, width, (30, 20))
    return np.where(joint[..., None], hsv(0.1, 0.06, rng.uniform(0.5, 0.8)), base) * grain[..., None]


def _sand(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    base = hsv(rng.uniform(0.06, 0.15), rng.uniform(0.15, 0.45), rng.uniform(0.55, 0.90))
    grain = 0.07 * smooth_noise(rng, height, width, (110, 110)) + 0.09 * smooth_noise(rng, height, width, (5, 3))
    return base * (1 + grain)[..., None]


def _stripes(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(height, width)
    angle, rate = rng.uniform(0, np.pi), rng.uniform(1.5, 5)
    ramp = (np.cos(angle) * x + np.sin(angle) * y) * rate
    mix = (0.5 + 0.5 * np.clip(2 * np.sin(2 * np.pi * ramp), -1, 1))[..., None]
    first, second = (hsv(rng.uniform(), rng.uniform(0.05, 0.45), rng.uniform(0.4, 0.9)) for _ in range(2))
    return (first * mix + second * (1 - mix)) * (1 + 0.05 * smooth_noise(rng, height, width, (20, 20)))[..., None]


def _concrete(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(height, width)
    base = hsv(rng.uniform(), rng.uniform(0.02, 0.15), rng.uniform(0.40, 0.80))
    slope = rng.uniform(-0.10, 0.10) * (x - x.mean()) + rng.uniform(-0.10, 0.10) * (y - y.mean())
    grain = 0.10 * smooth_noise(rng, height, width, (6, 6)) + 0.06 * smooth_noise(rng, height, width, (60, 60))
    return base * (1 + slope + grain)[..., None]


def _leaves(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    leaf = (smooth_noise(rng, height, width, (14, 14)) > 0).astype(np.float32)
    mix = cv2.GaussianBlur(leaf, (0, 0), 2)[..., None]
    first, second = (hsv(rng.uniform(0.02, 0.45), rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.7)) for _ in range(2))
    return (first * mix + second * (1 - mix)) * (1 + 0.08 * smooth_noise(rng, height, width, (30, 30)))[..., None]


_PAINTERS = {
    "water": _water,
    "grass": _grass,
    "sky": _sky,
    "brick": _brick,
    "sand": _sand,
    "stripes": _stripes,
    "concrete": _concrete,
    "leaves": _leaves,
}


def draw_background(kind: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Paint a background of the named kind, (H, W, 3) float32 in 0..255."""
    if kind not in _PAINTERS:
        raise ValueError(f"{kind!r} is not a background: choose one of {', '.join(_PAINTERS)}")
    return np.clip(_PAINTERS[kind](height, width, rng), 0, 255).astype(np.float32)


def add_clutter(colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint two to six small blobs of any colour, in place. Returns (H, W) uint8: 1, 2, ... on blobs, 0 elsewhere."""
    height, width = colours.shape[:2]
    clutter = np.zeros((height, width), np.uint8)
    for number in range(1, 1 + int(rng.integers(2, 7))):
        radius = np.sqrt(height * width / np.pi * rng.uniform(0.003, 0.02))
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 9))))
        spread = radius * rng.uniform(0.7, 1.3, len(angles))
        centre = rng.uniform(0, 1, 2) * (width, height)
        points = centre + spread[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        blob = np.zeros_like(clutter)
        cv2.fillPoly(blob, [np.rint(points).astype(np.int32)], 1)
        inside = blob > 0
        texture = 1 + 0.12 * smooth_noise(rng, height, width, (25, 25))
        colour = hsv(rng.uniform(), rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.95))
        colours[inside] = np.clip(colour * texture[inside][:, None], 0, 255)
        clutter[inside] = number
    return clutter
