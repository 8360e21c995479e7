"""Fine grids, transforms on them and what lies between, against plain loops."""

from __future__ import annotations

import itertools
import math
import sys
import tracemalloc

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from funpipe.space import spectra
from funpipe.space.spectra import (
    FineGrid,
    fine_grid,
    quadrants,
    roll_off,
    sample,
    sample_each,
)
from funpipe.space.splines import fill_from_splines, spline_coefficients

seeds = st.integers(0, 2**16)
small = st.tuples(*[st.integers(1, 6)] * 3)


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def compiled(request, monkeypatch):
    """Both ways of what numba compiles."""
    if request.param:
        pytest.importorskip("numba")
    else:
        monkeypatch.setitem(sys.modules, "funpipe.space.compiled", None)
        monkeypatch.setitem(sys.modules, "funpipe.space.compiled_splines", None)
    monkeypatch.setattr("funpipe.space.splines.can_compile", lambda: request.param)
    return request.param


# Grids.


@pytest.mark.parametrize(
    ("finest", "shape"), [(0.25, (7, 10, 13)), (0.26, (8, 11, 14)), (0.0, (2, 2, 2))]
)
def test_a_grid_goes_one_point_beyond_its_finest_frequency(finest, shape):
    grid = fine_grid((20, 32, 44), finest)
    assert grid == FineGrid((20, 32, 44), shape)
    for axis, n, period in zip(grid.axes(), shape, grid.periods, strict=True):
        assert axis.tolist() == [i / period for i in range(n)]


def test_the_roll_off_is_the_product_of_the_squares_along_the_axes():
    shape, periods = (4, 5, 2), (9, 11, 7)
    found = roll_off(shape, periods)
    for at in np.ndindex(shape):
        factors = []
        for i, n, period in zip(at, shape, periods, strict=True):
            x = math.pi * (i - (n - 1) / 2) / period
            factors.append((math.sin(x) / x) ** 2 if x else 1.0)
        assert found[at] == pytest.approx(math.prod(factors), rel=1e-12)


def test_linear_interpolation_rolls_an_image_off_as_is_said():
    # Of a wave in between, the mean over all places of what is interpolated.
    period, x = 12, 2.0
    fine = np.arange(0, period, 1 / 64)
    low = np.floor(fine)
    part = fine - low
    waves = [np.exp(-2j * np.pi * each * x / period) for each in (low, low + 1)]
    between = (1 - part) * waves[0] + part * waves[1]
    left = (between * np.exp(2j * np.pi * fine * x / period)).mean()
    [[[found, *_]]] = roll_off((1, 1, 5), (period,) * 3)
    assert found == pytest.approx(left.real, abs=2e-4)


# From images to the grid.


def summed(image, axes):
    """The definition, voxel by voxel, (2, 2, a, b, c)."""
    q = np.moveaxis(np.indices(image.shape), 0, -1) - (np.array(image.shape) - 1) / 2
    found = np.zeros((2, 2, *map(len, axes)), complex)
    for y, x in np.ndindex(2, 2):
        signs = np.array([1, 1 - 2 * y, 1 - 2 * x])
        k = np.stack(np.meshgrid(*axes, indexing="ij"), -1) * signs
        waves = np.exp(-2j * np.pi * np.tensordot(k, q, axes=(3, 3)))
        found[y, x] = np.tensordot(waves, image, axes=3)
    return found


@given(small, st.tuples(*[st.integers(1, 4)] * 3), seeds)
@pytest.mark.parametrize("by_numba", [False, True])
def test_stacks_of_any_sizes_are_transformed_image_by_image(
    by_numba, shape, counts, seed
):
    if by_numba:
        pytest.importorskip("numba")
    random = np.random.default_rng(seed)
    axes = [random.random(count) for count in counts]
    stacks = [random.normal(size=(*n, *shape)) for n in ((3,), (1,), (), (2, 1), (4,))]
    found = quadrants(stacks, shape, axes, compiled=by_numba)
    for stack, each in zip(stacks, found, strict=True):
        assert each.dtype == np.complex64
        expected = [summed(image, axes) for image in stack.reshape(-1, *shape)]
        assert each.shape == (*stack.shape[:-3], 2, 2, *counts)
        flat = each.reshape(-1, 2, 2, *counts)
        np.testing.assert_allclose(flat, expected, atol=5e-5)


@pytest.mark.parametrize("by_numba", [False, True])
def test_one_memory_is_used_for_all_stacks(by_numba):
    if by_numba:
        pytest.importorskip("numba")
    axes = [np.array([0.1, 0.3])] * 3
    stacks = [np.ones((n, 3, 4, 5)) for n in (3, 3, 1, 2)]
    first, *others = list(quadrants(stacks, (3, 4, 5), axes, compiled=by_numba))
    for each in others:
        assert np.shares_memory(first, each)


@pytest.mark.parametrize(("size", "count"), [(80, 40), (79, 30), (60, 50)])
def test_no_more_memory_is_used_than_the_largest_of_the_products_needs(size, count):
    image = np.ones((size,) * 3, np.float32)
    axes = [np.linspace(0, 0.4, count)] * 3
    tracemalloc.start()
    try:
        next(quadrants([image], image.shape, axes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Eight products, of floats, from one room to another; and four quadrants.
    room = 2 * 8 * max((size + 1) // 2, count) ** 3 * 4
    assert peak < 1.06 * (room + 4 * count**3 * 8)


def test_nothing_is_compiled_that_is_not_to_be(monkeypatch):
    monkeypatch.setitem(sys.modules, "funpipe.space.compiled", None)
    image, axes = np.ones((3, 4, 5)), [np.array([0.1, 0.3])] * 3
    [found] = quadrants([image], image.shape, axes)
    np.testing.assert_allclose(found, summed(image, axes), atol=2e-5)


# Between the points of the grid.


def between(point, values, grid):
    """Interpolate linearly along each axis; values are (4, a, b, c)."""
    mirrored = point[0] < 0
    z, y, x = -np.array(point) if mirrored else point
    quadrant = 2 * (y < 0) + (x < 0)
    where = [abs(each) * n for each, n in zip((z, y, x), grid.periods, strict=True)]
    low = [min(int(each), n - 2) for each, n in zip(where, grid.shape, strict=True)]
    found = 0j
    for corner in itertools.product((0, 1), repeat=3):
        weight = math.prod(
            (u - i) if step else (1 - (u - i))
            for u, i, step in zip(where, low, corner, strict=True)
        )
        at = tuple(i + step for i, step in zip(low, corner, strict=True))
        found += weight * values[(quadrant, *at)]
    return found.conjugate() if mirrored else found


GRID = fine_grid((9, 12, 10), 0.4)


def grid_and_points(seed, count):
    """Transforms on a grid, the same where quadrants meet, and points of all kinds."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 4, *GRID.shape, 2)) @ [1, 1j]
    values[:, 2:, :, 0] = values[:, :2, :, 0]
    values[:, [1, 3], ..., 0] = values[:, [0, 2], ..., 0]
    points = random.uniform(-0.4, 0.4, (30, 3))
    points[:7] *= list(itertools.product((0, 1), repeat=3))[:7]
    points[12:20] = np.round(points[12:20] * GRID.periods) / GRID.periods
    return values.astype(np.complex64), points


def rows_of(values):
    """Put transforms side by side, real and imaginary parts."""
    flat = np.ascontiguousarray(values.reshape(len(values), -1).T)
    return flat.view(np.float32)


@given(seeds, st.integers(1, 3))
def test_what_lies_between_the_points_is_interpolated_along_each_axis(seed, count):
    values, points = grid_and_points(seed, 3)
    expected = [[between(p, each, GRID) for each in values[:count]] for p in points]
    found = sample(points, rows_of(values), GRID, count=count, compiled=False)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, expected, atol=3e-5)
    shaped = points.reshape(5, 6, 3)
    again = sample(shaped, rows_of(values), GRID, count=count, compiled=False)
    np.testing.assert_array_equal(again, found)


def test_each_transform_is_interpolated_at_points_of_its_own(compiled):
    values, points = grid_and_points(1, 3)
    own = points.reshape(3, 10, 3)
    found = sample_each(own, values.reshape(3, -1), GRID, compiled=compiled)
    assert found.shape == (3, 10)
    expected = [
        [between(p, each, GRID) for p in some]
        for some, each in zip(own, values, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=3e-5)


def test_points_beyond_the_grid_leave_the_others_as_they_are(compiled):
    values, points = grid_and_points(2, 2)
    points = points.astype(np.float32)
    expected = sample(points, rows_of(values), GRID, count=2, compiled=compiled)
    for wrong in (np.nan, np.inf, -np.inf, 1e30, -1e9, 0.6):
        moved = points.copy()
        moved[4, 1] = wrong
        found = sample(moved, rows_of(values), GRID, count=2, compiled=compiled)
        others = np.arange(len(points)) != 4
        np.testing.assert_array_equal(found[others], expected[others])
        assert np.isfinite(wrong) or not np.isfinite(found[4]).any()


@pytest.mark.parametrize("side", [812, 813])  # 4 · 813³ is more than 2³¹
def test_points_of_a_grid_are_counted_however_many_there_are(side):
    grid = FineGrid((side,) * 3, (side,) * 3)
    last = (side - 1.5) / side
    points = np.array([[last, -last, -last], [0.0, 0.0, 0.5 / side]])
    matrix, sign = spectra._gather(points, grid)
    assert matrix.shape == (2, 4 * side**3)
    assert matrix.indices.max() == 4 * side**3 - 1
    assert matrix.indices.dtype == (np.int32 if side == 812 else np.int64)
    rows = matrix.indices.reshape(2, 8)
    assert set(rows[1, :2]) == {0, 1}
    np.testing.assert_allclose(matrix.data.reshape(2, 8)[1, :2], 0.5, atol=1e-4)
    assert sign.tolist() == [1, 1]


# Splines.


@given(small, seeds)
@pytest.mark.parametrize("by_numba", [False, True])
def test_coefficients_take_the_place_of_an_images_values(by_numba, shape, seed):
    if by_numba:
        pytest.importorskip("numba")
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    wanted = scipy.ndimage.spline_filter(image.astype(float), 3, mode="mirror")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("funpipe.space.splines.can_compile", lambda: by_numba)
        found = spline_coefficients(image)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, image)
    np.testing.assert_allclose(found, wanted, atol=4e-6 * np.abs(wanted).max())


def test_a_spline_goes_through_the_voxels_and_mirrors_them_beyond(compiled):
    image = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    coefficients = spline_coefficients(image.copy())
    found = np.empty((9, 9, 10), np.float32)
    fill_from_splines(coefficients, np.eye(3), np.array([-2.0, -1.0, 0.0]), found)
    z, y, x = (
        np.abs(n - 1 - np.abs(n - 1 - np.abs(np.arange(m) + low)))
        for n, m, low in zip(image.shape, found.shape, (-2, -1, 0), strict=True)
    )
    np.testing.assert_allclose(found, image[np.ix_(z, y, x)], atol=1e-5)


def test_a_spline_is_set_at_the_corner_and_turned_from_there(compiled):
    z, y, x = np.indices((14, 15, 16)) - np.array([6.5, 7, 7.5]).reshape(3, 1, 1, 1)
    blob = np.exp(-(z**2 / 8 + y**2 / 10 + x**2 / 12)).astype(np.float32)
    turn = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix() * 0.7
    corner = np.array([5.0, 6.5, 4.0])
    found = np.empty((4, 5, 6), np.float32)
    fill_from_splines(spline_coefficients(blob), turn, corner, found)
    for at in np.ndindex(found.shape):
        z, y, x = corner + turn @ at - [6.5, 7, 7.5]
        wanted = math.exp(-(z**2 / 8 + y**2 / 10 + x**2 / 12))
        assert found[at] == pytest.approx(wanted, abs=3e-3)
