"""The size, smaller or larger than its own, at which the network and the CRF see a photograph."""

from collections.abc import Callable
from functools import partial

from deeplabv2.setting_groups import SizeSettings

Size = tuple[int, int]  # height and width, pixels
LEAST_SIDE = 20  # the smallest of MODEL.SCALES leaves one pixel of it


def with_longer_side(size: Size, longer: int) -> Size:
    """The size of the same proportions whose longer side has `longer` pixels."""
    factor = longer / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def bounded(size: Size, longer: int | None) -> Size:
    """The size, reduced where its longer side has more than `longer` pixels; None leaves it."""
    return size if longer is None or max(size) <= longer else with_longer_side(size, longer)


def not_too_small(size: Size, *, resize: Callable[[Size], Size] | None) -> Size:
    """The size that `resize` gives, each side enlarged to LEAST_SIDE: below it, nothing is left at a small scale."""
    height, width = size if resize is None else resize(size)
    return max(height, LEAST_SIDE), max(width, LEAST_SIDE)


def size_of_network(settings: SizeSettings, *, full_size: bool) -> Callable[[Size], Size] | None:
    """The photograph's size -> the size at which the network sees it; None: its own.

    A network that was trained at a longer side BASE sees every photograph so, or at TEST where that is given; one that
    was trained on photographs as they are sees them so, but none larger than TEST.
    """
    if full_size or (settings.BASE is None and settings.TEST is None):
        return None
    if settings.BASE is None:
        return partial(bounded, longer=settings.TEST)
    return partial(with_longer_side, longer=settings.TEST or settings.BASE)
