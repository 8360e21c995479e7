"""Integrals of likelihoods over shifts and rotations are those of plain sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from funpipe.engine import integrals, posterior, shift_integrals
from funpipe.engine.bank import _weighed
from funpipe.engine.cells import cells_of
from funpipe.engine.gauss_newton import Poses
from funpipe.engine.integrals import Tops, basis_at, of_tops, over_tops
from funpipe.engine.posterior import Modes
from funpipe.engine.prior import FLAT, Prior, truncated
from funpipe.engine.shift_integrals import over_shifts
from funpipe.engine.turns import rotation_vectors, turns_between
from funpipe.space.geometry import RotationGrid, rotation_grid

WINDOW = np.array([3.0, 3.0, 3.0])
STILL = RotationGrid(Rotation.identity(), None)


def lattice(step=1.0, reach=3):
    axis = np.arange(-reach, reach + step / 2, step)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def precisions(random, count, size, low, high):
    """Return positive matrices of random axes."""
    values = np.exp(random.uniform(np.log(low), np.log(high), (count, size)))
    turns = [scipy.stats.ortho_group.rvs(size, random_state=random) for _ in values]
    return np.array([(u * v) @ u.T for u, v in zip(turns, values, strict=True)])


# Shifts.


def quadratic(shifts, middle, precision):
    off = shifts - middle
    return -np.einsum("si,ij,sj->s", off, precision, off) / 2


def summed(ln, cells):
    """Return ∫ L, the mean shift and the mean of |t|², by a sum over points."""
    weights = np.exp(ln) * cells.moves
    mean = weights @ cells.shifts / weights.sum()
    square = weights @ np.square(cells.shifts).sum(axis=1) / weights.sum()
    return weights.sum(), mean, square


@pytest.mark.parametrize(("width", "error"), [(0.3, 0.1), (0.6, 0.1), (1.2, 0.03)])
def test_gaussians_over_shifts_are_those_of_a_fine_lattice(width, error):
    random = np.random.default_rng(0)
    n, m, r = 2, 2, 3
    cells = cells_of(STILL, lattice(), WINDOW)
    fine = cells_of(STILL, lattice(), WINDOW)._replace(
        shifts=lattice(0.15), moves=_trapezoids(lattice(0.15), 0.15)
    )
    A = precisions(random, n * m, 3, 0.9 / width**2, 1.2 / width**2)
    A = np.repeat(A, r, axis=0)  # alike for the rows of a template
    middle = random.uniform(-1.4, 1.4, (n * m * r, 3))
    middle[0] = [3.0, 0.2, -0.3]  # half of it is beyond a face
    highest = np.tile([0.0, -0.5, -1.0], n * m) + 300.0
    x = np.stack(
        [
            h + quadratic(cells.shifts, *each)
            for h, *each in zip(highest, middle, A, strict=True)
        ],
        axis=1,
    )
    slope = np.full((n, m, r), 2.0)
    offset = 2 * x.max(axis=0).reshape(n, m, r).max(axis=2, keepdims=True)
    offset = np.broadcast_to(offset, slope.shape)
    found = over_shifts(
        x.astype(np.float32), slope, offset, np.full((n, m), np.inf), cells
    )
    for i in range(n * m * r):
        ln = 2 * (highest[i] + quadratic(fine.shifts, middle[i], A[i]))
        whole, mean, square = summed(ln - offset.ravel()[i], fine)
        at = np.unravel_index(i, (n, m, r))
        mass = found.mass[at] * np.exp(found.level[at[:2]])
        # Half of a Gaussian on a face is known less exactly.
        rough = 4 if i == 0 else 1
        assert mass == pytest.approx(whole, rel=error * rough)
        np.testing.assert_allclose(found.mean[at], mean, atol=0.05 * rough)
        assert found.square[at] == pytest.approx(square, abs=0.15 * rough)


def _trapezoids(points, step):
    inside = np.isclose(np.abs(points), np.abs(points).max(axis=0))
    return step**3 * 0.5 ** inside.sum(axis=1)


@pytest.mark.parametrize("window", [0.8, 1.6, 2.4])
def test_gaussians_within_any_window_are_those_of_a_fine_lattice(window):
    random = np.random.default_rng(12)
    axes = [_weighed(each) for each in (window, window, 3.0)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    cells = cells_of(STILL, points, (window, window, 3.0))
    assert cells.moves.sum() == pytest.approx(24 * window**2)
    dense = [np.linspace(-each, each, 41) for each in (window, window, 3.0)]
    points = np.stack(np.meshgrid(*dense, indexing="ij"), -1).reshape(-1, 3)
    fine = cells._replace(shifts=points, moves=_trapezoids(points, 1.0))
    for _ in range(40):
        A = np.diag(random.uniform(0.4, 0.9, 3) ** -2)
        middle = random.uniform(-1, 1, 3) * (window, window, 2.0)
        x = 300 + quadratic(cells.shifts, middle, A)
        one = np.ones((1, 1, 1))
        found = over_shifts(
            x[:, None].astype(np.float32), one, x.max() * one, np.inf * one[0], cells
        )
        _, mean, square = summed(quadratic(fine.shifts, middle, A), fine)
        np.testing.assert_allclose(found.mean[0, 0, 0], mean, atol=0.15)
        assert found.square[0, 0, 0] == pytest.approx(square, abs=0.35)


def test_no_pose_is_above_the_ceiling():
    cells = cells_of(STILL, lattice(), WINDOW)
    x = quadratic(cells.shifts, np.array([0.4, 0.0, 0.2]), 12 * np.eye(3)) + 5
    one = np.ones((1, 1, 1))
    args = x[:, None].astype(np.float32), one, one * x.max()
    free = over_shifts(*args, np.full((1, 1), np.inf), cells)
    held = over_shifts(*args, np.full((1, 1), 0.3), cells)
    true = (2 * np.pi / 12) ** 1.5 * np.exp(5 - x.max())
    assert free.mass[0, 0, 0] * np.exp(free.level[0, 0]) == pytest.approx(true, rel=0.3)
    assert held.level[0, 0] == pytest.approx(0.3)
    assert free.level[0, 0] > 0.5


def test_rows_that_are_not_likely_have_no_mass_and_broad_ones_are_a_plain_sum():
    random = np.random.default_rng(1)
    cells = cells_of(STILL, lattice(), (2.5, 3.0, 3.2))
    x = random.uniform(-2, 3, (len(cells.shifts), 4)).astype(np.float32)
    x[:, 3] -= 30
    slope, offset = np.ones((1, 1, 4)), np.zeros((1, 1, 4))
    offset[0, 0] = [0.0, 0.5, 10.5, 0.0]  # of the third all are 7.5 below the best
    found = over_shifts(x, slope, offset, np.full((1, 1), np.inf), cells)
    level = np.exp(found.level[0, 0])
    whole, mean, square = summed(x[:, 2].astype(float) - 10.5, cells)
    assert found.mass[0, 0, 2] * level == pytest.approx(whole, rel=1e-4)
    np.testing.assert_allclose(found.mean[0, 0, 2], mean, atol=1e-4)
    assert found.square[0, 0, 2] == pytest.approx(square, rel=1e-4)
    assert found.mass[0, 0, 3] == 0


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_the_scale_of_products_does_not_matter(factor):
    random = np.random.default_rng(11)
    cells = cells_of(STILL, lattice(), WINDOW)
    middle = random.uniform(-1, 1, (3, 3))
    x = [20 + quadratic(cells.shifts, each, 9 * np.eye(3)) for each in middle]
    x, slope = np.stack(x, axis=1), np.ones((1, 1, 3))
    rest = slope * x.max(), np.full((1, 1), np.inf), cells
    one = over_shifts(x.astype(np.float32), slope, *rest)
    other = over_shifts((factor * x).astype(np.float32), slope / factor, *rest)
    for each, scaled in zip(one, other, strict=True):
        np.testing.assert_allclose(scaled, each, rtol=1e-3, atol=1e-3)


def test_sums_of_weights_about_a_start_are_those_of_a_loop():
    random = np.random.default_rng(2)
    weights, start = random.random((3, 5)), random.normal(size=(3, 3))
    offsets = random.integers(-1, 2, (5, 3))
    found = shift_integrals._moments(weights, start, offsets)
    for i in range(3):
        wanted = np.zeros(5)
        for w, offset in zip(weights[i], offsets, strict=True):
            t = start[i] + offset
            wanted += w * np.array([1, *t, t @ t])
        np.testing.assert_allclose(found[i], wanted)


@pytest.mark.parametrize("sizes", [(5, 3, 4), (1, 4, 3), (3, 1, 1), (1, 1, 1)])
def test_a_block_has_the_gradient_and_curvature_of_a_parabola(sizes):
    random = np.random.default_rng(3)
    axes = [np.arange(n) - n // 2 for n in sizes]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    block = shift_integrals._block(shifts)
    assert block.axes == tuple(i for i in range(3) if sizes[i] > 1)
    index = np.arange(len(shifts))
    around = block.around(index)
    assert around.min() >= 0 and around.max() < len(shifts)
    np.testing.assert_array_equal(block.offsets[0], 0)
    middle = shifts[around[:, 0]]
    np.testing.assert_array_equal(
        shifts[around] - middle[:, None], [block.offsets] * len(index)
    )
    apart = np.abs(middle - shifts)
    inner = [
        np.clip(shifts[:, i], axes[i][0] + 1, axes[i][-1] - 1)
        if sizes[i] > 1
        else shifts[:, i]
        for i in range(3)
    ]
    np.testing.assert_array_equal(apart, np.abs(np.stack(inner, axis=1) - shifts))
    slope, bend = random.normal(size=3), random.normal(size=(3, 3))
    bend = bend + bend.T
    values = shifts @ slope + quadratic(shifts, 0, bend)
    some = list(block.axes)
    gradient = (slope - middle @ bend)[:, some]
    np.testing.assert_allclose(block.gradient(values[around]), gradient, atol=1e-12)
    curvature = np.broadcast_to(
        bend[np.ix_(some, some)], (len(index), len(some), len(some))
    )
    np.testing.assert_allclose(block.curvature(values[around]), curvature, atol=1e-12)


def rows_of_parabolas(block, shifts, middles, heights, A):
    """Return ln L at the points around the best of each row, and those points."""
    near, start = [], []
    for middle, height, precision in zip(middles, heights, A, strict=True):
        values = height + quadratic(shifts, middle, precision)
        where = block.around(np.array([values.argmax()]))[0]
        near.append(values[where])
        start.append(shifts[where[0]])
    return np.array(near), np.array(start, float)


def test_the_gaussian_of_a_peak_is_that_of_its_parabola():
    random = np.random.default_rng(14)
    shifts = lattice()
    block = shift_integrals._block(shifts)
    owner = np.array([0, 0, 1, 1, 1])
    x = np.array([40.0, 30.0, 20.0, 50.0, -1.0])  # of no match the last
    top = np.array([40.0, 40.0, 50.0, 50.0, 50.0])
    precision = precisions(random, 2, 3, 0.5, 6.0)[owner]
    A = precision * (x / top)[:, None, None]
    middles = random.uniform(-1.3, 1.3, (5, 3))
    heights = np.array([0.0, -3.0, -2.0, 0.5, -4.0])
    near, start = rows_of_parabolas(block, shifts, middles, heights, A)
    found = shift_integrals._peak(near, x, owner, start, block, np.full(3, 30.0))
    for i in range(4):
        assert found.height[i] == pytest.approx(heights[i])
        inside = np.linalg.inv(A[i] + np.eye(3) / 0.75**2)
        volume = np.sqrt(np.linalg.det(2 * np.pi * inside))
        assert found.volume[i] == pytest.approx(volume)
        np.testing.assert_allclose(found.mean[i], middles[i], atol=1e-9)
        square = middles[i] @ middles[i] + np.trace(inside)
        assert found.square[i] == pytest.approx(square)
        off = start[i] + block.offsets - middles[i]
        hole = np.exp(-np.square(off).sum(axis=1) / 2 / 0.75**2)
        np.testing.assert_allclose(found.hole[i], hole, atol=1e-12)
    assert found.volume[4] == 0 and (found.hole[4] == 0).all()
    assert found.height[4] == near[4, 0]
    np.testing.assert_array_equal(found.mean[4], start[4])


@pytest.mark.parametrize(
    ("middle", "bend", "there"),
    [
        (1.4, 1.0, True),
        (1.6, 1.0, False),  # too far from the voxel beside which it is sought
        (0.3, 0.06, True),
        (0.3, 0.04, False),  # flat
        (-1.4, 1.0, True),
        (-1.6, 1.0, False),
    ],
)
def test_what_is_flat_or_far_is_no_peak(middle, bend, there):
    shifts = lattice(reach=1)  # all around the only inner voxel
    block = shift_integrals._block(shifts)
    values = quadratic(shifts, np.array([0.0, middle, 0.0]), np.diag([1, bend, 1]))
    where = block.around(np.array([13]))
    one, none = np.ones(1), np.zeros(1, int)
    start, window = np.zeros((1, 3)), np.full(3, 30.0)
    found = shift_integrals._peak(values[where], one, none, start, block, window)
    assert (found.volume[0] > 0) == there
    assert found.hole.any() == there
    if not there:
        assert found.height[0] == values[13]
    nothing = shift_integrals._peak(values[where], 0 * one, none, start, block, window)
    assert nothing.volume[0] == 0


def test_of_a_peak_what_is_beyond_a_face_is_not_there():
    shifts = lattice()
    block = shift_integrals._block(shifts)
    middle, A = np.array([0.2, 2.9, 0.0]), np.diag([4.0, 3.0, 5.0])
    near, start = rows_of_parabolas(block, shifts, [middle], [0.0], [A])
    args = near, np.ones(1), np.zeros(1, int), start, block
    wide = shift_integrals._peak(*args, np.full(3, 30.0))
    found = shift_integrals._peak(*args, WINDOW)
    s = np.sqrt(1 / (3.0 + 1 / 0.75**2))
    bell = scipy.stats.truncnorm((-3 - 2.9) / s, (3 - 2.9) / s, 2.9, s)
    part = scipy.stats.norm(2.9, s).cdf(3.0)
    assert found.volume[0] / wide.volume[0] == pytest.approx(part, rel=1e-4)
    np.testing.assert_allclose(found.mean[0], [0.2, bell.mean(), 0.0], atol=1e-6)
    rest = 1 / (4 + 1 / 0.75**2) + 1 / (5 + 1 / 0.75**2)
    square = 0.2**2 + bell.mean() ** 2 + bell.var() + rest
    assert found.square[0] == pytest.approx(square, rel=1e-4)


def test_rows_are_summed_over_the_grid_or_a_peak_by_how_likely_they_are():
    """Down to 7 below the best beside a peak, down to 13 alone, and no farther."""
    random = np.random.default_rng(15)
    shifts = lattice()
    cells = cells_of(STILL, shifts, (3.0, 2.7, 3.3))
    block = shift_integrals._block(shifts)
    tops = np.array([0.0, -2.0, -6.8, -7.2, -12.8, -13.2])
    middles = random.uniform(-1.2, 1.2, (6, 3))
    A = np.array([np.diag([1.5, 2.0, 1.0])] * 6)
    x = np.stack([quadratic(shifts, *each) for each in zip(middles, A, strict=True)], 1)
    x += tops - x.max(axis=0) + 60
    slope = np.ones((1, 1, 6))
    found = over_shifts(
        x.astype(np.float32), slope, 60 * slope, np.full((1, 1), np.inf), cells
    )
    for i in range(6):
        h = x[:, i] - 60
        weights = np.where(h > -13, np.exp(h) * cells.moves, 0.0)
        mass, first = weights.sum(), weights @ shifts
        second = weights @ np.square(shifts).sum(axis=1)
        if tops[i] > -7:
            at = block.around(np.array([h.argmax()]))
            # Curvatures are those of the best row, less in proportion to x.
            best = block.around(np.array([(x[:, 0]).argmax()]))
            pair = np.stack([(x[:, 0] - 60)[best[0]], h[at[0]]])
            both = np.array([60.0, x[:, i].max()]), np.zeros(2, int)
            start = shifts[[best[0, 0], at[0, 0]]]
            peak = shift_integrals._peak(pair, *both, start, block, cells.window)
            share = weights[at[0]] * peak.hole[1]
            mass += np.exp(peak.height[1]) * peak.volume[1] - share.sum()
            first += np.exp(peak.height[1]) * peak.volume[1] * peak.mean[1]
            first -= share @ shifts[at[0]]
            second += np.exp(peak.height[1]) * peak.volume[1] * peak.square[1]
            second -= share @ np.square(shifts[at[0]]).sum(axis=1)
        here = found.mass[0, 0, i] * np.exp(found.level[0, 0])
        assert here == pytest.approx(mass, rel=1e-3)
        if mass:
            np.testing.assert_allclose(found.mean[0, 0, i], first / mass, atol=1e-3)
            assert found.square[0, 0, i] == pytest.approx(second / mass, rel=1e-3)
        else:
            assert i == 5 and found.square[0, 0, i] == 0


# Rotations.


def test_vectors_and_angles_between_rotations_are_scipys():
    one, other = Rotation.random(6, rng=0), Rotation.random(9, rng=1)
    found = rotation_vectors(one.as_quat(), -other.as_quat())
    angles = turns_between(one.as_quat()[:, None], other.as_quat())
    for i, j in itertools.product(range(6), range(9)):
        turn = one[i].inv() * other[j]
        np.testing.assert_allclose(found[i, j], turn.as_rotvec(), atol=1e-9)
        assert angles[i, j] == pytest.approx(turn.magnitude(), abs=1e-7)
    same = rotation_vectors(one.as_quat(), one.as_quat())
    assert np.abs(np.einsum("iik->ik", same)).max() < 1e-12
    small = Rotation.from_rotvec([1e-13, 0, 0])
    tiny = rotation_vectors(np.array([[0, 0, 0, 1.0]]), small.as_quat()[None])
    np.testing.assert_allclose(tiny[0, 0], [1e-13, 0, 0], rtol=1e-3)


def tops_at(R, t, height, precision, particle=None):
    count = len(height)
    whose = np.zeros(count, int) if particle is None else np.asarray(particle)
    return Tops(whose, np.zeros(count, int), R.as_quat(), t, height, precision)


@pytest.mark.parametrize("width", [0.3, 1.0, 2.5])  # of the spacing
def test_gaussians_over_rotations_and_the_rest_on_the_grid_are_the_whole(width):
    grid = rotation_grid((40, 4))
    cells = cells_of(grid, np.zeros((1, 3)), (0, 0, 0))
    spacing = np.radians(4.0)
    sigma = width * spacing * np.array([1.0, 0.9, 1.1])
    precision = np.zeros((1, 6, 6))
    precision[0, :3, :3] = np.diag(1 / sigma**2)
    at = Rotation.from_rotvec([[0.5, -0.3, 1.1]], degrees=True)
    tops = tops_at(at, np.zeros((1, 3)), np.zeros(1), precision)
    window = cells.quaternions, cells.spacing, cells.free, cells.widths
    peaks, hole, basin = over_tops(tops, *window)
    ways = rotation_vectors(at.as_quat(), cells.quaternions)[0]
    ln = -np.einsum("ri,ij,rj->r", ways, precision[0, :3, :3], ways) / 2
    rest = (np.exp(ln) * (1 - hole[0]) * cells.turns).sum()
    whole = np.exp(peaks.log_mass[0]) + rest
    assert whole == pytest.approx((2 * np.pi) ** 1.5 * sigma.prod(), rel=0.06)
    # What is narrower than the grid is the Gaussian's, what it resolves is the grid's.
    part = np.exp(peaks.log_mass[0]) / whole
    assert (part > 0.75) if width < 0.4 else (part < 0.01)
    assert peaks.nearest[0] == np.square(ways).sum(axis=1).argmin()
    least = np.pi / 2 / cells.widths[0] ** 2
    squares = (np.square(ways) * (1 / sigma**2 + least)).sum(axis=1)
    most = scipy.stats.chi2(3).ppf(0.999)
    np.testing.assert_array_equal(basin[0][squares < 0.99 * most], True)
    np.testing.assert_array_equal(basin[0][squares > 1.01 * most], False)


def test_a_narrow_gaussian_of_poses_has_its_mass_mean_and_spread():
    """Shifts follow rotations, where the two depend on each other."""
    random = np.random.default_rng(4)
    grid = rotation_grid((20, 8))
    cells = cells_of(grid, lattice(), WINDOW)
    A = precisions(random, 2, 6, 2e3, 1e4)
    R = Rotation.from_rotvec([[1.0, 2.0, -1.0], [-5.0, 0.0, 3.0]], degrees=True)
    t = np.array([[0.3, -0.4, 1.2], [-0.9, 0.1, 0.6]])
    tops = tops_at(R, t, np.array([3.0, 7.0]), A, [0, 1])
    window = cells.quaternions, cells.spacing, cells.free, cells.widths
    peaks, _, _ = over_tops(tops, *window)
    assert peaks.tops.particle.tolist() == [1, 0]  # the highest first
    for i, j in enumerate((1, 0)):
        wanted = tops.height[j] + 3 * np.log(2 * np.pi) - np.linalg.slogdet(A[j])[1] / 2
        assert peaks.log_mass[i] == pytest.approx(wanted, abs=0.03)
        variance = np.diag(np.linalg.inv(A[j]))
        spread = [variance[:3].sum(), variance[3:].sum()]
        np.testing.assert_allclose(peaks.spread[i], spread, rtol=0.05)
        np.testing.assert_allclose(peaks.tops.t[i], t[j], atol=1e-6)
        assert peaks.narrow[i] > 0.99
        way = rotation_vectors(R.as_quat()[[j]], cells.quaternions)[0]
        near = np.square(way).sum(axis=1).argmin()
        assert peaks.nearest[i] == near
        # The best shift at that rotation is where the slope by shifts is 0.
        off = np.linalg.solve(A[j][3:, 3:], A[j][3:, :3] @ way[near])
        np.testing.assert_allclose(peaks.shift_there[i], t[j] - off, atol=1e-3)
    whole = of_tops(tops.height, A, t, cells.widths)
    np.testing.assert_allclose(whole[::-1], peaks.log_mass, atol=0.03)
    wide = of_tops(tops.height, A / 4, t, cells.widths)
    np.testing.assert_allclose(wide - whole, 6 * np.log(2), atol=0.03)


def test_of_a_gaussian_on_a_face_half_counts():
    grid = rotation_grid((20, 8))
    cells = cells_of(grid, lattice(), WINDOW)
    A = np.array([np.diag([3e3] * 6)] * 2)
    t = np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    whole = of_tops(np.zeros(2), A, t, cells.widths)
    assert whole[0] - whole[1] == pytest.approx(np.log(2), abs=1e-3)
    tops = tops_at(Rotation.identity(2), t, np.zeros(2), A, [0, 1])
    window = cells.quaternions, cells.spacing, cells.free, cells.widths
    peaks, _, _ = over_tops(tops, *window)
    assert peaks.log_mass[0] - peaks.log_mass[1] == pytest.approx(np.log(2), abs=1e-3)
    assert peaks.tops.t[1, 1] == pytest.approx(3 - np.sqrt(2 / np.pi / 3e3), rel=1e-4)
    np.testing.assert_allclose(peaks.narrow, [1, 0], atol=1e-3)
    sigma = 1 / np.sqrt(3e3)
    moved = [3 * sigma**2, (3 - 2 / np.pi) * sigma**2]
    np.testing.assert_allclose(peaks.spread[:, 1], moved, rtol=1e-2)


@pytest.mark.parametrize("prior", [FLAT, Prior(0.06, 0.5)])
@pytest.mark.parametrize("window", [(3.0, 3.0, 3.0), (2.0, 0.0, 3.0)])
def test_gaussians_of_maxima_are_those_of_a_loop_over_them(window, prior):
    """By covariances, where the code has precisions."""
    random = np.random.default_rng(16)
    grid, window = rotation_grid((24, 8)), np.array(window)
    axes = np.flatnonzero(window)
    shifts = lattice() * (window > 0)
    cells = cells_of(grid, np.unique(shifts, axis=0), window, prior)
    spacing = np.radians(8)
    count, d = 6, 3 + len(axes)
    R = Rotation.from_rotvec(0.2 * random.normal(size=(count, 3)))
    t = random.uniform(-1, 1, (count, 3)) * (window > 0)
    t[1, 2] = 2.8  # beside a face
    A = precisions(random, count, 6, 20.0, 3e3)
    height = np.arange(count, 0.0, -1)
    tops = tops_at(R, t, height, A, np.arange(count))
    widths = cells.widths
    peaks, hole, basin = over_tops(
        tops, cells.quaternions, cells.spacing, cells.free, widths, prior
    )
    some = [0, 1, 2, *(3 + axes)]
    least = np.pi / 2 / np.array([widths[0]] * 3 + list(window[axes])) ** 2
    P = np.diag([1 / prior.turn**2] * 3 + [1 / prior.move**2] * 3)[np.ix_(some, some)]
    for q in range(count):
        both = A[q][np.ix_(some, some)] + np.diag(least)
        turning = np.linalg.inv(np.linalg.inv(both)[:3, :3])  # whatever the shift
        values, vectors = np.linalg.eigh(turning)
        widest = np.minimum(1 / np.sqrt(values) / 0.4 / spacing, 10)
        B = vectors @ np.diag(widest**12 * values + 1 / spacing**2) @ vectors.T
        ways = (R[q].inv() * grid.rotations).as_rotvec()
        wanted = [np.exp(-way @ B @ way / 2) for way in ways]
        np.testing.assert_allclose(hole[q], wanted, atol=1e-9)
        square = np.array([way @ turning @ way for way in ways])
        np.testing.assert_array_equal(basin[q], square < 16.3)
        near = np.linalg.norm(ways, axis=1).argmin()
        assert peaks.nearest[q] == near
        moving = both[3:, 3:]
        width = np.linalg.det(moving) ** (-0.5 / len(axes))
        clear = (np.abs(t[q, axes]) < window[axes] - 2 * width).all()
        narrow = clear / (1 + (width / 0.22) ** 12)
        assert peaks.narrow[q] == pytest.approx(narrow)
        both[:3, :3] += B
        away = np.concatenate([R[q].as_rotvec(), t[q]])[some]
        step = -np.linalg.solve(both + P, P @ away)
        there = t[q].copy()
        there[axes] -= np.linalg.solve(moving, both[3:, :3] @ ways[near])
        there[axes] += step[3:]
        np.testing.assert_allclose(peaks.shift_there[q], there, atol=1e-9)
        top = height[q] - away @ P @ away / 2 - (P @ away) @ step / 2
        covariance = np.linalg.inv(both + P)
        ln = top + np.linalg.slogdet(2 * np.pi * covariance)[1] / 2
        inside = truncated(
            t[None, q, axes] + step[None, 3:],
            np.diag(covariance)[None, 3:],
            window[axes],
        )
        assert peaks.log_mass[q] == pytest.approx(ln + np.log(inside[0]).sum())
        np.testing.assert_allclose(peaks.tops.t[q, axes], inside[1][0], atol=1e-9)
        spread = [np.diag(covariance)[:3].sum(), inside[2].sum()]
        np.testing.assert_allclose(peaks.spread[q], spread)
        turn = Rotation.from_quat(peaks.tops.quaternion[q])
        way = (R[q].inv() * turn).as_rotvec()
        np.testing.assert_allclose(way, step[:3], atol=1e-9)
    assert d == 3 + len(axes) and (prior.flat or np.abs(step).max() > 1e-4)


@pytest.mark.parametrize(
    ("angle", "shift", "far"),
    [
        (0.1, 0.1, False),
        (1.45 * 0.14, 0.0, False),  # of a spacing of 8 degrees
        (1.55 * 0.14, 0.0, True),
        (0.0, 1.45, False),
        (0.0, -1.55, True),
    ],
)
def test_what_a_prior_moves_far_is_left_to_the_grid(angle, shift, far):
    cells = cells_of(rotation_grid((40, 8)), lattice(), WINDOW)
    R = Rotation.from_rotvec([[0, angle, 0]])
    A = np.diag([2e3] * 3 + [1.0] * 3)[None]  # narrower than the grid
    tops = tops_at(R, np.array([[0, 0, shift]]), np.zeros(1), A)
    window = cells.quaternions, cells.spacing, cells.free, cells.widths
    prior = Prior(1e-3, 1e-3)  # moves nearly all the way to no turn and no shift
    peaks, hole, _ = over_tops(tops, *window, prior)
    assert np.isneginf(peaks.log_mass[0]) == far
    assert hole.any() != far
    still, hole, _ = over_tops(tops, *window)
    assert np.isfinite(still.log_mass[0]) and hole.any()


@pytest.mark.parametrize(("width", "part"), [(0.15, 1.0), (0.22, 0.5), (0.4, 0.0)])
def test_peaks_narrower_than_voxels_are_told_from_wider_ones(width, part):
    cells = cells_of(rotation_grid((20, 8)), lattice(), WINDOW)
    A = np.diag([3e3] * 3 + [1 / width**2] * 3)[None]
    tops = tops_at(Rotation.identity(1), np.zeros((1, 3)), np.zeros(1), A)
    window = cells.quaternions, cells.spacing, cells.free, cells.widths
    peaks, _, _ = over_tops(tops, *window)
    assert peaks.narrow[0] == pytest.approx(part, abs=0.03)


def test_what_nothing_is_known_of_is_as_wide_as_the_window():
    widths = 0.2, np.array([0.0, 2.0, 3.0])
    basis = basis_at(np.zeros((1, 0, 3)), 0.1, 3, widths)
    assert basis.shape == (1, 6, 5)
    np.testing.assert_array_equal(basis[0].T @ basis[0], np.eye(5))
    assert (basis[0, 3] == 0).all()  # along an axis that does not move
    found = of_tops(np.zeros(1), np.zeros((1, 5, 5)), np.zeros((1, 3)), widths)
    volume = np.prod([2 * 0.2] * 3 + [4.0, 6.0])
    inside = scipy.special.ndtr(np.sqrt(np.pi / 2)) * 2 - 1
    assert found[0] == pytest.approx(np.log(volume * inside**2), abs=1e-9)


def test_of_maxima_that_are_the_same_the_highest_counts():
    A = np.array([np.diag([100.0] * 3 + [4.0] * 3)] * 6)
    R = Rotation.from_rotvec(np.outer([0, 0.1, 0.3, 0.0, 0.0, 0.0], [1, 0, 0]))
    t = np.zeros((6, 3))
    t[3, 2], t[5, 0] = 1.1, 0.9
    height = np.array([1.0, 2.0, 0.5, 0.7, 0.9, 3.0])
    tops = tops_at(R, t, height, A, [0, 0, 0, 0, 1, 1])._replace(
        template=np.array([0, 0, 0, 0, 0, 1])
    )
    apart = np.zeros((6, 6))
    for i, j in itertools.product(range(6), repeat=2):
        way = [*(R[i].inv() * R[j]).as_rotvec(), *(t[j] - t[i])]
        apart[i, j] = np.sqrt(way @ A[i] @ way)
    kept = []
    for i in np.argsort(-height):
        same = [
            j
            for j in kept
            if tops.particle[i] == tops.particle[j]
            and tops.template[i] == tops.template[j]
        ]
        if all(apart[j, i] >= 2 for j in same):
            kept.append(int(i))
    assert 3 < len(kept) < 6
    assert integrals._distinct(tops).tolist() == kept


@pytest.mark.parametrize("most", [12, 80])
@pytest.mark.parametrize("free", [1, 2])
def test_a_grid_of_fewer_angles_goes_along_those(free, most):
    pairs = ((most, 4),) * free + ((0, 0),) * (3 - free)
    grid = rotation_grid(pairs[::-1] if free == 1 else pairs)
    cells = cells_of(grid, np.zeros((1, 3)), (0, 0, 0))
    assert cells.free == free
    start = grid.rotations[[0, len(grid.rotations) // 2]].as_quat()
    ways = rotation_vectors(start, cells.quaternions)
    found = integrals._directions(ways, cells.spacing, free)
    assert found.shape == (2, 3, free)
    for i, each in enumerate(found):
        np.testing.assert_allclose(each.T @ each, np.eye(free), atol=1e-9)
        near = ways[i][np.linalg.norm(ways[i], axis=1) < np.radians(4.5)]
        rest = near - near @ each @ each.T
        assert np.abs(rest).max() < 0.08 * np.abs(near).max()


# Cells, and the evidence of modes.


@given(st.floats(0.0, 4.0), st.floats(0.0, 4.0), st.floats(0.0, 4.0))
def test_cells_fill_any_window(z, y, x):
    axes = [_weighed(each) for each in (z, y, x)]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    cells = cells_of(STILL, shifts, (z, y, x))
    wide = [each for each in (z, y, x) if each > 0.5]
    assert cells.moves.sum() == pytest.approx(np.prod([2 * each for each in wide]))
    assert (cells.window > 0).sum() == len(wide)
    for limit, axis in zip((z, y, x), axes, strict=True):
        assert axis[-1] == (limit if limit > 0.5 else 0)


def test_cells_of_angles_count_for_a_half_at_faces_and_a_whole_all_round():
    grid = rotation_grid(((180, 60), (20, 10), (0, 0)))
    cells = cells_of(grid, np.zeros((1, 3)), (0, 0, 0))
    alpha, beta, _ = grid.rotations.as_euler("XYZ", degrees=True).T
    assert cells.free == 2
    for i in range(len(alpha)):
        part = 0.5 if abs(abs(beta[i]) - 20) < 1e-6 else 1.0
        step = np.radians(np.diff(np.unique(alpha.round(6))).min()) * np.radians(10)
        wanted = np.cos(np.radians(beta[i])) * step * part
        assert cells.turns[i] == pytest.approx(wanted)
    assert cells.spacing == pytest.approx(np.sqrt(cells.turns.mean()))
    turn, _ = cells.widths
    assert turn == pytest.approx(np.sqrt(cells.turns.sum()) / 2)
    ball = rotation_grid((20, 10))
    of_ball = cells_of(ball, np.zeros((1, 3)), (0, 0, 0))
    np.testing.assert_allclose(of_ball.turns, np.radians(10) ** 3)
    assert of_ball.spacing == pytest.approx(np.radians(10))


def test_the_evidence_of_modes_is_that_of_each_ones_gaussian():
    random = np.random.default_rng(5)
    grid = rotation_grid((20, 8))
    cells = cells_of(grid, lattice(), WINDOW)
    particle, template = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 0, 0, 0])
    poses = Poses(
        particle,
        template,
        Rotation.random(5, rng=1).as_matrix(),
        random.uniform(-1, 1, (5, 3)),
        np.array([0.5, 0.4, 0.3, 0.6, -0.1]),
    )
    g, S = random.uniform(80, 120, 5), precisions(random, 5, 6, 50, 200)
    P, N = np.array([900.0, 1100.0, 1000.0]), np.array([1e3, 900.0, 1100.0])
    amplitudes = np.array([[1.0, 2.0], [2.5, 4.0]])
    found = posterior.of_modes(Modes(poses, g, S), P, N, cells, amplitudes)
    assert found.shape == (3, 2, 2)
    assert np.isneginf(found[1:, 1]).all()
    for q, j in itertools.product(range(4), range(2)):
        i, rho = particle[q], amplitudes[j, template[q]]
        x = poses.score[q] * np.sqrt(g[q] * P[i])
        ln, v = posterior.log_likelihood(x, g[q], P[i], N[i], rho)
        A = v * rho * x / np.sqrt(P[i]) * S[q]
        wanted = ln + 3 * np.log(2 * np.pi) - np.linalg.slogdet(A)[1] / 2
        wanted -= np.log(cells.volume)
        assert found[i, template[q], j] == pytest.approx(wanted, abs=0.1)
