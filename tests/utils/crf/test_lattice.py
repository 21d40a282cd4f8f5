import numpy as np
import pytest

from utils.crf.lattice import LARGEST_COORDINATE, PermutohedralLattice
from utils.errors import UserError


def points(seed, count, size, spread):
    return (spread * np.random.default_rng(seed).random((count, size))).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_points_far_from_each_other_keep_their_values(size):
    # no two points share a vertex: many more vertices than points
    place = 50 * np.indices((4,) * size).reshape(size, -1).T.astype(np.float32)
    values = np.random.default_rng(0).random((3, len(place)), dtype=np.float32)
    np.testing.assert_allclose(PermutohedralLattice(place).filter(values), values, rtol=1e-5)


def test_points_in_one_place_get_their_mean():
    values = np.array([[1, 2, 6], [0, 0, 3]], np.float32)
    filtered = PermutohedralLattice(np.full((3, 5), 7.3, np.float32)).filter(values)
    np.testing.assert_allclose(filtered, [[3, 3, 3], [1, 1, 1]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "tolerance"), [(1, 0.05), (2, 0.08), (3, 0.12)])
def test_a_dense_cloud_is_filtered_as_by_the_gaussian_itself(size, tolerance):
    place = points(0, 4000, size, 8)
    values = np.sin(place.sum(axis=1) / 2)[None]
    kernel = np.exp(-0.5 * ((place[:, None] - place[None]) ** 2).sum(axis=2))
    norm = 1 / np.sqrt(kernel.sum(axis=1))
    exact = norm * (kernel @ (norm * values[0]))
    filtered = PermutohedralLattice(place).filter(values)[0]
    assert np.abs(filtered - exact).mean() < tolerance * np.abs(exact).mean()
    # the values themselves, or their mean, would be far off
    assert np.abs(values[0] - exact).mean() > 3 * tolerance * np.abs(exact).mean()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_rows_do_not_depend_on_what_is_filtered_with_them(count):
    lattice = PermutohedralLattice(points(1, 500, 5, 4))
    values = np.random.default_rng(1).random((count, 500), dtype=np.float32)
    together = lattice.filter(values)
    alone = [lattice.filter(row[None])[0] for row in values]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5)


def test_filtering_is_linear_and_leaves_its_input_alone():
    lattice = PermutohedralLattice(points(2, 300, 2, 5))
    values = np.random.default_rng(2).random((2, 300), dtype=np.float32)
    before = values.copy()
    one, other = lattice.filter(values)
    np.testing.assert_allclose(lattice.filter(3 * values[:1] - values[1:])[0], 3 * one - other, rtol=1e-4, atol=1e-6)
    assert (values == before).all()
    assert lattice.filter(values[:0]).shape == (0, 300)


def test_where_the_origin_lies_matters_little():
    place = points(3, 3000, 2, 8)
    values = np.cos(place[:, :1].T)
    here, there = (PermutohedralLattice(place + shift).filter(values) for shift in (np.float32(0), np.float32(1000.3)))
    assert np.abs(here - there).mean() < 0.05 * np.abs(here).mean()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 2 * LARGEST_COORDINATE])
def test_points_that_are_no_place_on_the_lattice_are_refused(wrong):
    place = points(4, 10, 2, 1)
    place[3, 1] = wrong
    with pytest.raises(UserError, match="100000"):
        PermutohedralLattice(place)
