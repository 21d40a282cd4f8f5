"""Gaussian filter over points anywhere in space, on the permutohedral lattice: the hot path of the dense CRF."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from utils.errors import UserError

# beyond it, single precision can no longer distinguish the corners of a simplex
LARGEST_COORDINATE = 1e5
# powers of an odd number: the sum of a lattice point's coordinates, each times its own, is a 64-bit name of that point,
# and a step on the lattice always adds the same number to it
NAME_FACTOR = 0x9E3779B97F4A7C15


class PermutohedralLattice:
    """A Gaussian of standard deviation 1 between any two of N points, normalised on both sides: D^-1/2 K D^-1/2.

    points: (N, D) float32. Time and memory grow with N alone: a point spreads its value over the corners of the
    simplex around it, the corners mix with their two neighbours along each of D + 1 directions, and the point collects
    from its corners. Gives the numbers of pydensecrf, see tests/utils/crf/test_dense.py, in less time, see
    scripts/benchmark. Raises ValueError for points that are not finite or too far out.
    Adams, Baek & Davis, EUROGRAPHICS 2010; the normalisation: Krähenbühl & Koltun, ICML 2013.
    """

    def __init__(self, points: np.ndarray) -> None:
        largest = np.abs(points).max()
        if not largest <= LARGEST_COORDINATE:
            raise UserError(
                f"points reach {largest:g} standard deviations from 0",
                rule=f"they must stay within {LARGEST_COORDINATE:g}",
                remedy="make the CRF's kernels wider",
            )
        size = points.shape[1]
        factors = [pow(NAME_FACTOR, power, 2**64) for power in range(1, size + 1)] + [0]
        steps = [(sum(factors) - (size + 1) * factor) % 2**64 for factor in factors]
        names, directions, self._weights = _simplices(
            np.ascontiguousarray(points, np.float32), np.array(factors, np.uint64)
        )
        self._corners, self._neighbours = _connect(names, directions, np.array(steps, np.uint64))
        mass = self.filter(np.ones((1, len(points)), np.float32))[0]
        self._weights /= np.sqrt(mass)[:, None]

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Each point's sum of all points' values, weighed by the normalised Gaussian. (K, N) float32 -> same shape."""
        values = np.ascontiguousarray(values, np.float32)
        result = np.empty_like(values)
        first = 0
        while first < len(values):
            width = max(width for width in _FILTERS if width <= len(values) - first)
            rows = slice(first, first + width)
            _FILTERS[width](values[rows], self._corners, self._weights, self._neighbours, result[rows])
            first += width
        return result


def _compiled(function: Callable) -> Any:
    """By numba, kept for other processes where a folder can be written: not so in some containers and clusters."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for its cache: compiled anew in each process
        return njit(nogil=True)(function)


@_compiled
def _simplices(points: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The simplex around each point: its first corner's name (N,), the directions that lead from corner to corner
    (N, D + 1) and the point's barycentric coordinates (N, D + 1). Adams et al., sec. 3.
    """
    count, size = points.shape
    corners = size + 1
    names = np.zeros(count, np.uint64)
    directions = np.empty((count, corners), np.uint8)
    weights = np.empty((count, corners), np.float32)
    # mixing the corners widens the Gaussian: at this scale, the whole has a standard deviation of 1
    scale = np.empty(size, np.float32)
    for i in range(size):
        scale[i] = np.float64(np.float32(np.sqrt(2 / 3) * corners)) * (1 / np.sqrt((i + 1.0) * (i + 2.0)))
    place, corner, rest = np.empty(corners, np.float32), np.empty(corners, np.float32), np.empty(corners, np.float32)
    rank = np.empty(corners, np.int32)
    share = np.float32(1) / np.float32(corners)
    for point in range(count):
        _onto_the_plane(points[point], scale, place)
        _first_corner(place, corner, rest, rank)
        for i in range(corners):
            names[point] += np.uint64(np.int64(corner[i])) * factors[i]
            directions[point, size - rank[i]] = i
            rest[size - rank[i]] = (place[i] - corner[i]) * share
        weights[point, 0] = rest[0] + np.float32(1) - rest[size]
        for i in range(1, corners):
            weights[point, i] = rest[i] - rest[i - 1]
    return names, directions, weights


@njit(inline="always")
def _onto_the_plane(point: np.ndarray, scale: np.ndarray, place: np.ndarray) -> None:
    """Fills in a point's place (D + 1,) on the plane on which coordinates sum to 0, where the lattice lies."""
    total = np.float32(0)
    for i in range(len(scale), 0, -1):
        step = point[i - 1] * scale[i - 1]
        place[i] = total - np.float32(i) * step
        total += step
    place[0] = total


@njit(inline="always")
def _first_corner(place: np.ndarray, corner: np.ndarray, rest: np.ndarray, rank: np.ndarray) -> None:
    """Fills in the first corner of the simplex around a place, and the ranks of what is left, the largest first."""
    corners = len(place)
    share, excess = np.float32(1) / np.float32(corners), np.float32(0)
    for i in range(corners):
        multiple = np.rint(place[i] * share)
        corner[i] = multiple * np.float32(corners)
        rest[i] = place[i] - corner[i]
        excess += multiple
    for i in range(corners):
        rank[i] = np.int32(excess)
    for i in range(corners - 1):
        for j in range(i + 1, corners):
            behind = np.int32(rest[i] < rest[j])
            rank[i] += behind
            rank[j] += 1 - behind
    # where the nearest multiples do not sum to 0, those coordinates give way that were rounded most
    for i in range(corners):
        if rank[i] < 0:
            rank[i] += corners
            corner[i] += np.float32(corners)
        elif rank[i] >= corners:
            rank[i] -= corners
            corner[i] -= np.float32(corners)


@njit(inline="always")
def _slot(table: np.ndarray, name: np.uint64, shift: np.uint64) -> np.uint64:
    """Where a name stands in the table, or would stand. table (2**(64 - shift), 2): name, number + 1 or 0."""
    slot = (name * np.uint64(NAME_FACTOR)) >> shift
    while table[slot, 1] != 0 and table[slot, 0] != name:
        slot = (slot + np.uint64(1)) & np.uint64(len(table) - 1)
    return slot


@_compiled
def _table(names: np.ndarray, shift: np.uint64) -> np.ndarray:
    table = np.zeros((1 << (np.uint64(64) - shift), 2), np.uint64)
    for number, name in enumerate(names):
        slot = _slot(table, name, shift)
        table[slot, 0], table[slot, 1] = name, number + 1
    return table


@_compiled
def _connect(first: np.ndarray, directions: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each point's corners (N, D + 1), numbered from 0 to M - 1 as points come to them, and their neighbours.

    first (N,): the name of each point's first corner; steps (D + 1,): what a step in each direction adds to a name.
    """
    count, corners = directions.shape
    names = np.empty(count * corners, np.uint64)
    numbers = np.empty((count, corners), np.int32)
    found, shift = 0, np.uint64(54)
    while 1 << (np.uint64(64) - shift) < 2 * count:
        shift -= np.uint64(1)
    table = _table(names[:0], shift)
    for point in range(count):
        name = first[point]
        for i in range(corners):
            slot = _slot(table, name, shift)
            if table[slot, 1] == 0:
                names[found] = name
                found += 1
                table[slot, 0], table[slot, 1] = name, found
                numbers[point, i] = found - 1
                if 2 * found > len(table):
                    shift -= np.uint64(1)
                    table = _table(names[:found], shift)
            else:
                numbers[point, i] = np.int32(table[slot, 1]) - 1
            name += steps[directions[point, i]]
    return numbers, _neighbours(names[:found], table, shift, steps)


@_compiled
def _neighbours(names: np.ndarray, table: np.ndarray, shift: np.uint64, steps: np.ndarray) -> np.ndarray:
    """Each corner's neighbours behind and ahead along each direction, (D + 1, M, 2); M where no point has that one."""
    found = len(names)
    neighbours = np.full((len(steps), found, 2), found, np.int32)
    for direction in range(len(steps)):
        for number in range(found):
            slot = _slot(table, names[number] + steps[direction], shift)
            if table[slot, 1] != 0:
                ahead = np.int32(table[slot, 1]) - 1
                neighbours[direction, number, 1] = ahead
                neighbours[direction, ahead, 0] = number
    return neighbours


def _filter_of(width: int) -> Callable[..., None]:
    """The filter over `width` rows at once: as that number is known when it is compiled, it costs no loop."""

    @_compiled
    def filter_rows(
        values: np.ndarray, corners: np.ndarray, weights: np.ndarray, neighbours: np.ndarray, result: np.ndarray
    ) -> None:
        """Spreads values (width, N) over the corners, mixes these, and collects -> result, of the same shape."""
        directions, found, _ = neighbours.shape
        count = values.shape[1]
        held, mixed = np.zeros((found + 1, width), np.float32), np.zeros((found + 1, width), np.float32)
        for point in range(count):
            for i in range(directions):
                corner, weight = corners[point, i], weights[point, i]
                for row in range(width):
                    held[corner, row] += weight * values[row, point]
        for direction in range(directions):
            for number in range(found):
                behind, ahead = neighbours[direction, number]
                for row in range(width):
                    sides = held[behind, row] + held[ahead, row]
                    mixed[number, row] = held[number, row] + np.float32(0.5) * sides
            held, mixed = mixed, held
        for point in range(count):
            for row in range(width):
                total = np.float32(0)
                for i in range(directions):
                    total += weights[point, i] * held[corners[point, i], row]
                result[row, point] = total

    return filter_rows


_FILTERS = {width: _filter_of(width) for width in (1, 2, 4)}
