"""Gaussian filter over arbitrary points on the permutohedral lattice: the hot path of the dense CRF."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from utils.errors import UserError

# above this, float32 can no longer distinguish the vertices of a simplex
LARGEST_COORDINATE = 1e5
# A lattice point's 64-bit key is the sum of its coordinates, each multiplied by its own power of this odd number. A
# step on the lattice in a given direction always adds the same number to the key.
KEY_FACTOR = 0x9E3779B97F4A7C15


class PermutohedralLattice:
    """A Gaussian of standard deviation 1 between all pairs of N points, normalised symmetrically: D^-1/2 K D^-1/2.

    points: (N, D) float32. Time and memory are linear in N. A point splats its value onto the vertices of the simplex
    around it, the vertices are blurred with their two neighbours along each of D + 1 directions, and the point slices
    from its vertices. Gives the same numbers as pydensecrf (see tests/utils/crf/test_dense.py) in less time (see
    scripts/benchmark). Raises UserError for points that are not finite or too far out.
    Adams, Baek & Davis, EUROGRAPHICS 2010; the normalisation: Krähenbühl & Koltun, ICML 2013.
    """

    def __init__(self, points: np.ndarray) -> None:
        largest = np.abs(points).max()
        if not largest <= LARGEST_COORDINATE:
            raise UserError(
                f"points reach {largest:g} standard deviations from 0",
                rule=f"expected at most {LARGEST_COORDINATE:g}",
                remedy="make the CRF's kernels wider",
            )
        size = points.shape[1]
        factors = [pow(KEY_FACTOR, power, 2**64) for power in range(1, size + 1)] + [0]
        steps = [(sum(factors) - (size + 1) * factor) % 2**64 for factor in factors]
        keys, directions, self._weights = _simplices(
            np.ascontiguousarray(points, np.float32), np.array(factors, np.uint64)
        )
        self._vertices, self._neighbours = _connect(keys, directions, np.array(steps, np.uint64))
        mass = self.filter(np.ones((1, len(points)), np.float32))[0]
        self._weights /= np.sqrt(mass)[:, None]

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Return each point's sum of all values, weighted by the normalised Gaussian. (K, N) float32 -> same shape."""
        values = np.ascontiguousarray(values, np.float32)
        result = np.empty_like(values)
        lattice = self._vertices, self._weights, self._neighbours
        first = 0
        while len(values) - first > 2:  # four rows take about as long as two
            rows = slice(first, first + 4)
            if rows.stop <= len(values):
                _filter_four(values[rows], *lattice, result[rows])
            else:
                padded = np.pad(values[rows], ((0, 1), (0, 0)))
                _filter_four(padded, *lattice, padded)
                result[rows] = padded[:3]
            first += 4
        for row in range(first, len(values)):
            _filter_one(values[row], *lattice, result[row])
        return result


def _compiled(function: Callable) -> Any:
    """Compile with numba, cached for other processes if a cache folder is writable, as it may not be in containers."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no cache folder: every process compiles anew
        return njit(nogil=True)(function)


@_compiled
def _simplices(points: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the simplex around each point: the key of its first vertex (N,), the directions from vertex to vertex
    (N, D + 1) and the point's barycentric coordinates (N, D + 1). Adams et al., sec. 3.
    """
    count, size = points.shape
    vertices = size + 1
    keys = np.zeros(count, np.uint64)
    directions = np.empty((count, vertices), np.uint8)
    weights = np.empty((count, vertices), np.float32)
    # blurring widens the Gaussian: with this scale, the total standard deviation is 1
    scale = np.empty(size, np.float32)
    for i in range(size):
        scale[i] = np.float64(np.float32(np.sqrt(2 / 3) * vertices)) * (1 / np.sqrt((i + 1.0) * (i + 2.0)))
    position, vertex, rest = (
        np.empty(vertices, np.float32),
        np.empty(vertices, np.float32),
        np.empty(vertices, np.float32),
    )
    rank = np.empty(vertices, np.int32)
    inverse = np.float32(1) / np.float32(vertices)
    for point in range(count):
        _embed(points[point], scale, position)
        _first_vertex(position, vertex, rest, rank)
        for i in range(vertices):
            keys[point] += np.uint64(np.int64(vertex[i])) * factors[i]
            directions[point, size - rank[i]] = i
            rest[size - rank[i]] = (position[i] - vertex[i]) * inverse
        weights[point, 0] = rest[0] + np.float32(1) - rest[size]
        for i in range(1, vertices):
            weights[point, i] = rest[i] - rest[i - 1]
    return keys, directions, weights


@njit(inline="always")
def _embed(point: np.ndarray, scale: np.ndarray, position: np.ndarray) -> None:
    """Embed a point into the plane of the lattice, on which coordinates sum to 0. Writes to `position` (D + 1,)."""
    total = np.float32(0)
    for i in range(len(scale), 0, -1):
        step = point[i - 1] * scale[i - 1]
        position[i] = total - np.float32(i) * step
        total += step
    position[0] = total


@njit(inline="always")
def _first_vertex(position: np.ndarray, vertex: np.ndarray, rest: np.ndarray, rank: np.ndarray) -> None:
    """Write the first vertex of the simplex around a position to `vertex`, and the ranks of the residuals to `rank`."""
    vertices = len(position)
    inverse, excess = np.float32(1) / np.float32(vertices), np.float32(0)
    for i in range(vertices):
        multiple = np.rint(position[i] * inverse)
        vertex[i] = multiple * np.float32(vertices)
        rest[i] = position[i] - vertex[i]
        excess += multiple
    for i in range(vertices):
        rank[i] = np.int32(excess)
    for i in range(vertices - 1):
        for j in range(i + 1, vertices):
            behind = np.int32(rest[i] < rest[j])
            rank[i] += behind
            rank[j] += 1 - behind
    # if the nearest multiples do not sum to 0, change the coordinates that were rounded most
    for i in range(vertices):
        if rank[i] < 0:
            rank[i] += vertices
            vertex[i] += np.float32(vertices)
        elif rank[i] >= vertices:
            rank[i] -= vertices
            vertex[i] -= np.float32(vertices)


@njit(inline="always")
def _slot(table: np.ndarray, key: np.uint64, shift: np.uint64) -> np.uint64:
    """Return the slot of a key in the hash table. table (2**(64 - shift), 2): key, index + 1 or 0 if empty."""
    slot = (key * np.uint64(KEY_FACTOR)) >> shift
    while table[slot, 1] != 0 and table[slot, 0] != key:
        slot = (slot + np.uint64(1)) & np.uint64(len(table) - 1)
    return slot


@_compiled
def _table(keys: np.ndarray, shift: np.uint64) -> np.ndarray:
    table = np.zeros((1 << (np.uint64(64) - shift), 2), np.uint64)
    for number, key in enumerate(keys):
        slot = _slot(table, key, shift)
        table[slot, 0], table[slot, 1] = key, number + 1
    return table


@_compiled
def _connect(first: np.ndarray, directions: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the vertices from 0 to M - 1. Returns each point's vertices (N, D + 1) and the vertices' neighbours.

    first (N,): the key of each point's first vertex. steps (D + 1,): what a step in each direction adds to a key.
    """
    count, vertices = directions.shape
    keys = np.empty(count * vertices, np.uint64)
    numbers = np.empty((count, vertices), np.int32)
    found, shift = 0, np.uint64(54)
    while 1 << (np.uint64(64) - shift) < 2 * count:
        shift -= np.uint64(1)
    table = _table(keys[:0], shift)
    for point in range(count):
        key = first[point]
        for i in range(vertices):
            slot = _slot(table, key, shift)
            if table[slot, 1] == 0:
                keys[found] = key
                found += 1
                table[slot, 0], table[slot, 1] = key, found
                numbers[point, i] = found - 1
                if 2 * found > len(table):
                    shift -= np.uint64(1)
                    table = _table(keys[:found], shift)
            else:
                numbers[point, i] = np.int32(table[slot, 1]) - 1
            key += steps[directions[point, i]]
    return numbers, _neighbours(keys[:found], table, shift, steps)


@_compiled
def _neighbours(keys: np.ndarray, table: np.ndarray, shift: np.uint64, steps: np.ndarray) -> np.ndarray:
    """Return each vertex's two neighbours along each direction, (D + 1, M, 2); M if no point uses that vertex."""
    found = len(keys)
    neighbours = np.full((len(steps), found, 2), found, np.int32)
    for direction in range(len(steps)):
        for number in range(found):
            slot = _slot(table, keys[number] + steps[direction], shift)
            if table[slot, 1] != 0:
                ahead = np.int32(table[slot, 1]) - 1
                neighbours[direction, number, 1] = ahead
                neighbours[direction, ahead, 0] = number
    return neighbours


@_compiled
def _filter_one(
    values: np.ndarray, vertices: np.ndarray, weights: np.ndarray, neighbours: np.ndarray, result: np.ndarray
) -> None:
    """Splat values (N,) onto the vertices, blur, and slice into `result` of the same shape."""
    directions, found, _ = neighbours.shape
    held, mixed = np.zeros(found + 1, np.float32), np.zeros(found + 1, np.float32)
    for point in range(len(values)):
        for i in range(directions):
            held[np.uint32(vertices[point, i])] += weights[point, i] * values[point]
    for direction in range(directions):
        for number in range(found):
            behind, ahead = neighbours[direction, number]
            sides = held[np.uint32(behind)] + held[np.uint32(ahead)]
            mixed[number] = held[number] + np.float32(0.5) * sides
        held, mixed = mixed, held
    for point in range(len(values)):
        total = np.float32(0)
        for i in range(directions):
            total += weights[point, i] * held[np.uint32(vertices[point, i])]
        result[point] = total


@njit(inline="always")
def _four(maps: np.ndarray, index: Any) -> tuple[float, float, float, float]:
    return maps[index, 0], maps[index, 1], maps[index, 2], maps[index, 3]


@_compiled
def _filter_four(
    values: np.ndarray, vertices: np.ndarray, weights: np.ndarray, neighbours: np.ndarray, result: np.ndarray
) -> None:
    """Do the same to four rows, values (4, N).

    All four numbers are read before any is written, so that the compiler can take them as one vector; indices without a
    sign need no test for negative ones. Together that is 1.7 times as fast as a loop over the rows.
    """
    directions, found, _ = neighbours.shape
    count = values.shape[1]
    held, mixed = np.zeros((found + 1, 4), np.float32), np.zeros((found + 1, 4), np.float32)
    half = np.float32(0.5)
    for point in range(count):
        v0, v1, v2, v3 = values[0, point], values[1, point], values[2, point], values[3, point]
        for i in range(directions):
            vertex, weight = np.uint32(vertices[point, i]), weights[point, i]
            h0, h1, h2, h3 = _four(held, vertex)
            held[vertex, 0] = h0 + weight * v0
            held[vertex, 1] = h1 + weight * v1
            held[vertex, 2] = h2 + weight * v2
            held[vertex, 3] = h3 + weight * v3
    for direction in range(directions):
        for number in range(found):
            b0, b1, b2, b3 = _four(held, np.uint32(neighbours[direction, number, 0]))
            a0, a1, a2, a3 = _four(held, np.uint32(neighbours[direction, number, 1]))
            h0, h1, h2, h3 = _four(held, number)
            mixed[number, 0] = h0 + half * (b0 + a0)
            mixed[number, 1] = h1 + half * (b1 + a1)
            mixed[number, 2] = h2 + half * (b2 + a2)
            mixed[number, 3] = h3 + half * (b3 + a3)
        held, mixed = mixed, held
    for point in range(count):
        t0 = t1 = t2 = t3 = np.float32(0)
        for i in range(directions):
            weight = weights[point, i]
            h0, h1, h2, h3 = _four(held, np.uint32(vertices[point, i]))
            t0 += weight * h0
            t1 += weight * h1
            t2 += weight * h2
            t3 += weight * h3
        result[0, point], result[1, point], result[2, point], result[3, point] = t0, t1, t2, t3
