"""A synthetic picture with the properties of photographs at which resizing methods differ."""

import numpy as np


def photograph(size: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: power falls with frequency, as in photographs; hard edges, fine texture, clipped lights."""
    rng, (height, width) = np.random.default_rng(seed), size
    fy, fx = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / max(size))
    image = np.empty((height, width, 3))
    shared = rng.normal(size=(height, width))
    for channel in range(3):
        noise = np.fft.rfft2(shared + 0.5 * rng.normal(size=(height, width)))
        smooth = np.fft.irfft2(noise * falloff, s=size)
        image[..., channel] = 128 + 60 * smooth / smooth.std()
    y, x = np.mgrid[:height, :width]
    for _ in range(6):
        centre, radius = rng.uniform(0, 1, 2) * size, rng.uniform(0.05, 0.25) * min(size)
        inside = np.hypot(y - centre[0], x - centre[1]) < radius
        stripes = 30 * np.sin((x + y) * rng.uniform(0.5, 2))
        image[inside] += (rng.uniform(-90, 90, 3) + stripes[..., None])[inside]
    return image.clip(0, 255).round().astype(np.uint8)
