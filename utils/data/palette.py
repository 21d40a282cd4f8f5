"""VOC's palette, the colours of label maps."""

import numpy as np


def _voc_palette() -> np.ndarray:
    """Compute VOC's palette: each three bits of an index become one bit per channel, highest first (VOC devkit)."""
    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


PALETTE = _voc_palette()
