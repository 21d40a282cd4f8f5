"""The size to which a photograph is scaled for the network and the CRF."""

from collections.abc import Callable
from functools import partial

from deeplabv2.setting_groups import SizeSettings

Size = tuple[int, int]  # height and width, pixels
LEAST_SIDE = 20  # at the smallest of MODEL.SCALES, one pixel is left of it


def with_longer_side(size: Size, longer: int) -> Size:
    """Scale the size so that its longer side has `longer` pixels."""
    factor = longer / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def bounded(size: Size, longer: int | None) -> Size:
    """Scale the size down to at most `longer` pixels on its longer side. None: unchanged."""
    return size if longer is None or max(size) <= longer else with_longer_side(size, longer)


def not_too_small(size: Size, *, resize: Callable[[Size], Size] | None) -> Size:
    """Return resize(size) with sides of at least LEAST_SIDE, since smaller ones vanish at small scales."""
    height, width = size if resize is None else resize(size)
    return max(height, LEAST_SIDE), max(width, LEAST_SIDE)


def size_of_network(settings: SizeSettings, *, full_size: bool) -> Callable[[Size], Size] | None:
    """Return the function from a photograph's size to the network's input size; None for its own size.

    A network trained with a longer side of BASE gets every photograph at BASE, or at TEST if given. A network trained
    at the photographs' own sizes gets them unchanged, but scaled down to at most TEST.
    """
    if full_size or (settings.BASE is None and settings.TEST is None):
        return None
    if settings.BASE is None:
        return partial(bounded, longer=settings.TEST)
    return partial(with_longer_side, longer=settings.TEST or settings.BASE)
