"""Integrals of likelihoods over the shifts and rotations of a search's window.

What they are for, and by what formula, stands in `funpipe.engine.posterior`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = [
    "Peaks",
    "Rows",
    "Tops",
    "basis_at",
    "of_tops",
    "over_shifts",
    "over_tops",
    "rotation_vectors",
    "turns_between",
]

Array: TypeAlias = NDArray[Any]

_REACH = 13.0  # poses less likely than the best by so much, in ln L, do not count
_SMALL = 6.0  # rotations so much above that are summed over the grid alone
_HOLE = 0.75  # voxels, of φ around the best shift of a rotation
_FARTHEST = 1.5  # voxels, of a peak from the point beside which it is sought
_FLATTEST = 0.05  # 1/voxel², the least curvature of what counts as a peak
_TURN_HOLE = 1.0  # spacings of the rotations, of φ around a mode, at the most
# A grid resolves a Gaussian whose standard deviation is this part of its spacing; the
# power says how fast it stops to where the peak is narrower.
_RESOLVED, _POWER = 0.4, 12
_NARROW = 0.22  # voxels: peaks wider over shifts are better known from the voxels
_APART = 2.0  # standard deviations: modes nearer to each other are one
_BASIN = 16.3  # squared standard deviations: 99.9 % of a Gaussian's rotations


class Rows(NamedTuple):
    """For each rotation of each template, all shifts together."""

    mass: NDArray[np.float64]
    """(n, m, r), ∫ L, over exp(level)."""
    mean: NDArray[np.float64]
    """(n, m, r, 3), of the shift."""
    square: NDArray[np.float64]
    """(n, m, r), the mean of |t|²."""
    level: NDArray[np.float64]
    """(n, m)."""


class Tops(NamedTuple):
    """Where likelihoods have a maximum, and how sharp a one."""

    particle: NDArray[np.int64]
    """(Q,)."""
    template: NDArray[np.int64]
    """(Q,)."""
    quaternion: NDArray[np.float64]
    """(Q, 4), scalar last."""
    t: NDArray[np.float64]
    """(Q, 3), voxels."""
    height: NDArray[np.float64]
    """(Q,), ln L."""
    precision: NDArray[np.float64]
    """(Q, 6, 6), A, by small rotations and shifts in rad and voxels."""

    @property
    def whose(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Particle and template."""
        return self.particle, self.template

    def take(self, chosen: Array) -> Tops:
        """Return some of them."""
        return Tops._make(each[chosen] for each in self)


class Peaks(NamedTuple):
    """Distinct maxima, the highest first, and what of them is a Gaussian's."""

    tops: Tops
    """Their shifts are those Gaussians' means inside the window."""
    log_mass: NDArray[np.float64]
    """(Q,), ln ∫ L φ."""
    spread: NDArray[np.float64]
    """(Q, 2): the expected squared angle, rad², and distance, voxels²."""
    nearest: NDArray[np.intp]
    """(Q,), the grid's rotation that is nearest."""
    shift_there: NDArray[np.float64]
    """(Q, 3), the best shift with that, voxels."""
    narrow: NDArray[np.float64]
    """(Q,), from 0 to 1: how much narrower than the voxels it is over shifts."""


def over_shifts(
    x: Array,
    slope: Array,
    offset: Array,
    ceiling: Array,
    cells: Any,
) -> Rows:
    """Integrate exp(slope · x − offset) over shifts, for each rotation.

    Parameters
    ----------
    x : (S, n · m · r) array
        Of all poses few are likely enough to count; the rest are left out.
    slope, offset : (n, m, r) arrays
        ln L is slope · x − offset, about 0 at the best of a template.
    ceiling : (n, m) array
        No pose has a higher ln L.
    cells : Cells
        Shifts on a lattice of whole voxels, and how much of the window is each one's.
    """
    shifts, moves = cells.shifts, cells.moves
    n, m, r = slope.shape
    slope, offset, limit = (
        each.astype(np.float32).ravel()
        for each in (slope, offset, np.repeat(ceiling[..., None], r, axis=2))
    )
    powers = np.column_stack([np.ones(len(shifts)), shifts, (shifts**2).sum(axis=1)])
    counted, best, top = _cells(x, slope, offset, limit)
    sums = np.asarray(counted.T @ (powers * moves[:, None]))
    rows = np.flatnonzero(top > -_REACH + _SMALL)
    block = _block(shifts)
    where = block.around(best[rows])
    near = x[where, rows[:, None]] * slope[rows, None] - offset[rows, None]
    np.minimum(near, limit[rows, None], out=near)
    start = shifts[where[:, 0]]
    peak = _peak(near, x[best[rows], rows], rows // r, start, block, cells.window)
    height = np.minimum(peak.height, limit[rows])
    level = np.zeros(n * m)  # a peak between the points may rise far above them
    np.maximum.at(level, rows // r, height)
    high = np.repeat(level, r)
    # From the sum over points the share is taken that the peaks' Gaussians have.
    share = np.exp(near) * peak.hole * moves[where]
    share[near <= -_REACH] = 0.0
    sums[rows] -= _moments(share, start, block.offsets)
    sums *= np.exp(-high)[:, None]
    mass = np.exp(height - high[rows]) * peak.volume
    sums[rows] += mass[:, None] * np.column_stack(
        [np.ones(len(rows)), peak.mean, peak.square]
    )
    whole = np.maximum(sums[:, 0], 0.0)
    per = sums[:, 1:] / np.where(whole > 0, whole, 1.0)[:, None]
    return Rows(
        whole.reshape(n, m, r),
        per[:, :3].reshape(n, m, r, 3),
        per[:, 3].reshape(n, m, r),
        level.reshape(n, m),
    )


def _cells(
    x: Array, slope: Array, offset: Array, limit: Array
) -> tuple[scipy.sparse.csr_array, Array, Array]:
    """Return what of L counts, (S, K); where in each column the highest is, and ln L.

    The columns are rotations; where nothing counts, ln L is −inf.
    """
    counts = x > (offset - _REACH) / slope
    ends = np.concatenate([[0], np.cumsum(np.count_nonzero(counts, axis=1))])
    found = np.flatnonzero(counts)
    at = np.repeat(np.arange(len(x)), np.diff(ends))
    row = found - at * x.shape[1]
    height = x.reshape(-1)[found] * slope[row]
    height -= offset[row]
    np.minimum(height, limit[row], out=height)
    top = np.full(x.shape[1], -np.inf, np.float32)
    np.maximum.at(top, row, height)
    best = np.zeros(len(top), dtype=np.intp)
    highest = height == top[row]
    best[row[highest]] = at[highest]
    cells = scipy.sparse.csr_array((np.exp(height), row, ends), shape=x.shape)
    return cells, best, top


def _moments(weights: Array, start: Array, offsets: Array) -> NDArray[np.float64]:
    """Return Σ w, Σ w t and Σ w |t|² (K, 5) over t = start + offsets.

    Parameters
    ----------
    weights : (K, B) array
        Of each offset.
    start : (K, 3) array
        For each row.
    offsets : (B, 3) array
        The same for all.
    """
    about = np.column_stack([np.ones(len(offsets)), offsets, (offsets**2).sum(axis=1)])
    sums = np.asarray(weights @ about, dtype=np.float64)
    whole, first = sums[:, :1], sums[:, 1:4]
    twice = 2 * (start * first).sum(axis=1) + sums[:, 4]
    square = (start**2).sum(axis=1) * whole[:, 0] + twice
    return np.column_stack([whole, start * whole + first, square])


class _Block(NamedTuple):
    """A point of a lattice and those around it: 27, or less where axes have one."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    """Those with more points than one."""
    offsets: NDArray[np.int64]
    """(B, 3); the first is the point itself."""

    def around(self, index: Array) -> NDArray[np.intp]:
        """Return flat indices (K, B) of blocks that are inside the lattice."""
        middle = np.stack(np.unravel_index(index, self.shape), axis=1)
        last = np.maximum(np.array(self.shape) - 2, 0)
        middle = np.clip(middle, np.minimum(1, last), last)
        strides = np.array([self.shape[1] * self.shape[2], self.shape[2], 1])
        return np.asarray((middle @ strides)[:, None] + self.offsets @ strides)

    def gradient(self, values: Array) -> NDArray[np.float64]:
        """Return the gradient of values (K, B) at the point, (K, axes)."""
        weight = np.zeros((len(self.axes), len(self.offsets)))
        for i, one in enumerate(self._ways()):
            weight[i, self._column(one)] = 0.5
            weight[i, self._column(-one)] = -0.5
        return np.asarray(values @ weight.T)

    def curvature(self, values: Array) -> NDArray[np.float64]:
        """Return −1 times the second derivatives, (K, axes, axes)."""
        size = len(self.axes)
        weight = np.zeros((size, size, len(self.offsets)))
        for (i, one), (j, other) in itertools.product(
            enumerate(self._ways()), repeat=2
        ):
            if i == j:
                weight[i, i, [0, self._column(one), self._column(-one)]] = 2, -1, -1
                continue
            for sign, turned in ((-1, other), (1, -other)):
                for way in (one + turned, -one - turned):
                    weight[i, j, self._column(way)] = sign / 4
        return np.asarray(np.einsum("kb,ijb->kij", values, weight))

    def _ways(self) -> Array:
        return np.eye(3, dtype=np.int64)[list(self.axes)]

    def _column(self, offset: Array) -> int:
        return int(np.flatnonzero((self.offsets == offset).all(axis=1))[0])


def _block(shifts: Array) -> _Block:
    shape = tuple(len(np.unique(axis)) for axis in shifts.T)
    ways = [(0, -1, 1) if size > 1 else (0,) for size in shape]
    axes = tuple(axis for axis, size in enumerate(shape) if size > 1)
    return _Block(shape, axes, np.array(list(itertools.product(*ways))))


class _Peak(NamedTuple):
    """The Gaussian at the best shift of each row; of no volume where there is none."""

    height: Array
    volume: Array
    """(K,), ∫ φ exp(ln L − height) over the window."""
    mean: Array
    square: Array
    hole: Array
    """(K, B), φ at the points of the block."""


def _peak(
    near: Array, x: Array, owner: Array, start: Array, block: _Block, window: Array
) -> _Peak:
    """Return the Gaussian through the points around the best of each row.

    Gradient and curvature are central differences, the latter at the highest of the
    rows of a particle and template.
    """
    axes = list(block.axes)
    size = len(axes)
    _, group = np.unique(owner, return_inverse=True)
    order = np.lexsort((-x, group))
    highest = order[np.flatnonzero(np.diff(group[order], prepend=-1))]
    values, vectors = np.linalg.eigh(block.curvature(near[highest]))
    good = (x[highest] > 0) & (size > 0)
    good &= values.min(axis=1, initial=np.inf) > _FLATTEST
    values[~good] = 1.0
    # Around a lower maximum the score falls by less, in proportion.
    factor = np.where(good[group], x / np.where(good, x[highest], 1.0)[group], 1.0)
    good = good[group] & (factor > 0)
    values = values[group] * np.where(good, factor, 1.0)[:, None]
    vectors = vectors[group]
    gradient = block.gradient(near)
    along = np.einsum("kij,ki->kj", vectors, gradient) / values
    step = np.einsum("kij,kj->ki", vectors, along)
    there = good & (np.abs(step) <= _FARTHEST).all(axis=1)
    step[~there] = 0.0
    height = near[:, 0] + np.einsum("ki,ki->k", gradient, step) / 2
    within = 1 / (values + 1 / _HOLE**2)
    volume = np.sqrt((2 * math.pi * within).prod(axis=1)) * there
    variance = np.einsum("kij,kj->ki", vectors**2, within)
    # φ is a product over the axes.
    way = np.array([-1, 0, 1]) - step[..., None]
    each = np.exp(way**2 / (-2 * _HOLE**2))
    hole = there.astype(np.float64)[:, None]
    for i, axis in enumerate(axes):
        hole = hole * each[:, i, block.offsets[:, axis] + 1]
    # What of it is beyond the faces of the window is not there.
    inside, middle, variance = _truncated(start[:, axes] + step, variance, window[axes])
    mean = start.copy()
    mean[:, axes] = middle
    square = (mean**2).sum(axis=1) + variance.sum(axis=1)
    return _Peak(height, volume * inside.prod(axis=1), mean, square, hole)


def _truncated(mean: Array, variance: Array, face: Array) -> tuple[Array, Array, Array]:
    """Return the part of Gaussians from −face to face, its mean and its variance."""
    sigma = np.sqrt(variance)
    near = np.abs(mean) + 4 * sigma > face
    part, middle, rest = np.ones(mean.shape), mean.copy(), variance.copy()
    if not near.any():
        return part, middle, rest
    mean, sigma = mean[near], sigma[near]
    edge = np.broadcast_to(face, near.shape)[near]
    low, high = (-edge - mean) / sigma, (edge - mean) / sigma
    inside = np.maximum(scipy.special.ndtr(high) - scipy.special.ndtr(low), 1e-6)
    bell_low, bell_high = (
        np.exp(-(each**2) / 2) / math.sqrt(2 * math.pi) for each in (low, high)
    )
    shift = (bell_low - bell_high) / inside
    shrunk = 1 + (low * bell_low - high * bell_high) / inside - shift**2
    part[near] = inside
    middle[near] = np.clip(mean + sigma * shift, -edge, edge)
    rest[near] = sigma**2 * np.clip(shrunk, 0.0, 1.0)
    return part, middle, rest


def over_tops(
    tops: Tops,
    rotations: Array,
    spacing: float,
    free: int,
    widths: tuple[float, Array],
) -> tuple[Peaks, Array, Array]:
    """Integrate the Gaussians of maxima, as far as the grid does not resolve them.

    Parameters
    ----------
    tops : Tops
        The maxima; of those that are the same only the highest counts.
    rotations : (r, 4) array
        The grid's, quaternions.
    spacing, free : float and int
        Of the grid: rad, and along how many directions it goes.
    widths : float and (3,) array
        Half the window's extent in rotation and shift, rad and voxels.

    Returns
    -------
    peaks : Peaks
        The Q distinct ones.
    hole : (Q, r) array
        φ of each at the grid's rotations.
    basin : (Q, r) array of bool
        Which of them are around the maximum.
    """
    move = widths[1]
    axes = np.flatnonzero(move > 0)
    tops = tops.take(_distinct(tops))
    ways = rotation_vectors(tops.quaternion, rotations)
    basis = basis_at(ways, spacing, free, widths)
    least = _least(free, widths)  # where nothing else is known
    A = basis.swapaxes(1, 2) @ tops.precision @ basis + np.diag(least)
    across = A[:, :free, free:]
    moving = A[:, free:, free:]
    following = np.linalg.solve(moving, across.swapaxes(1, 2))
    over = A[:, :free, :free] - across @ following
    values, vectors = np.linalg.eigh(over)
    values = np.maximum(values, least[0])
    widest = np.minimum(1 / (np.sqrt(values) * _RESOLVED * spacing), 10.0)
    narrow = widest**_POWER * values + (_TURN_HOLE * spacing) ** -2.0
    B = np.einsum("qij,qj,qkj->qik", vectors, narrow, vectors)
    ways = ways @ basis[:, :3, :free]
    hole = np.exp(-np.einsum("qri,qij,qrj->qr", ways, B, ways) / 2)
    nearest = np.square(ways).sum(axis=2).argmin(axis=1)
    there = tops.t.copy()
    there[:, axes] -= np.einsum(
        "qij,qj->qi", following, ways[np.arange(len(ways)), nearest]
    )
    width = np.linalg.det(moving) ** (-0.5 / max(len(axes), 1))
    clear = (np.abs(tops.t[:, axes]) < move[axes] - 2 * width[:, None]).all(axis=1)
    narrow_shift = clear / (1 + (width / _NARROW) ** _POWER)
    basin = np.einsum("qri,qij,qrj->qr", ways, over, ways) < _BASIN
    A[:, :free, :free] += B
    _, logarithm = np.linalg.slogdet(A)
    log_mass = tops.height + (A.shape[1] * math.log(2 * math.pi) - logarithm) / 2
    variance = np.einsum("qii->qi", np.linalg.inv(A))
    inside, middle, moved = _truncated(tops.t[:, axes], variance[:, free:], move[axes])
    log_mass += np.log(inside).sum(axis=1)
    t = tops.t.copy()
    t[:, axes] = middle
    tops = tops._replace(t=t)
    spread = [variance[:, :free].sum(axis=1), moved.sum(axis=1)]
    return (
        Peaks(
            tops,
            log_mass,
            np.stack(spread, axis=1),
            nearest,
            there,
            narrow_shift,
        ),
        hole,
        basin,
    )


def of_tops(
    height: Array, precision: Array, t: Array, widths: tuple[float, Array]
) -> NDArray[np.float64]:
    """Return ln of the whole integrals of Gaussians, (Q,).

    Parameters
    ----------
    height, t : (Q,) and (Q, 3) arrays
        ln L at their tops, and shifts there, voxels.
    precision : (Q, d, d) array
        Along what a grid varies, see `basis_at`, shifts last.
    widths
        As for `over_tops`.
    """
    axes = np.flatnonzero(widths[1] > 0)
    size = precision.shape[1]
    A = precision + np.diag(_least(size - len(axes), widths))
    _, logarithm = np.linalg.slogdet(A)
    found = height + (size * math.log(2 * math.pi) - logarithm) / 2
    if len(axes):
        variance = np.einsum("qii->qi", np.linalg.inv(A))[:, size - len(axes) :]
        part, _, _ = _truncated(t[:, axes], variance, widths[1][axes])
        found = found + np.log(part).sum(axis=1)
    return np.asarray(found)


def basis_at(
    ways: Array, spacing: float, free: int, widths: tuple[float, Array]
) -> NDArray[np.float64]:
    """Return along which directions of pose a grid varies, (Q, 6, d).

    Ways (Q, r, 3) lead from Q rotations to the grid's; where all directions are free
    r may be 0. The rest is as for `over_tops`.
    """
    axes = np.flatnonzero(widths[1] > 0)
    basis = np.zeros((len(ways), 6, free + len(axes)))
    if free:
        basis[:, :3, :free] = _directions(ways, spacing, free)
    basis[:, 3 + axes, free + np.arange(len(axes))] = 1.0
    return basis


def _least(free: int, widths: tuple[float, Array]) -> NDArray[np.float64]:
    """Return the precision of what is as wide as the window, (d,)."""
    turn, move = widths
    extent = np.concatenate([np.full(free, turn), move[move > 0]])
    return np.asarray(math.pi / 2 / extent**2)


def _distinct(tops: Tops) -> NDArray[np.intp]:
    """Return which maxima are not the same as a higher one, the highest first."""
    kept: list[int] = []
    owned: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-tops.height, kind="stable").tolist():
        others = owned.setdefault((int(tops.particle[i]), int(tops.template[i])), [])
        if others:
            q = tops.quaternion
            way = np.column_stack(
                [rotation_vectors(q[others], q[[i]])[:, 0], tops.t[i] - tops.t[others]]
            )
            apart = np.einsum("qi,qij,qj->q", way, tops.precision[others], way)
            if apart.min() < _APART**2:
                continue
        others.append(i)
        kept.append(i)
    return np.array(kept, dtype=np.intp)


def _directions(ways: Array, spacing: float, free: int) -> NDArray[np.float64]:
    """Return along which directions (Q, 3, free) a grid goes around rotations.

    Parameters
    ----------
    ways : (Q, r, 3) array
        From each rotation to the grid's, as vectors.
    spacing : float
        Of the grid, rad.
    free : int
        Along how many directions it goes.
    """
    if free == 3:
        return np.broadcast_to(np.eye(3), (len(ways), 3, 3))
    lengths = (ways**2).sum(axis=2)
    nearest = lengths.min(axis=1, keepdims=True)
    weight = np.exp((nearest - lengths) / (2 * (1.5 * spacing) ** 2))
    matrix = np.einsum("qr,qri,qrj->qij", weight, ways, ways)
    return np.asarray(np.linalg.eigh(matrix)[1][:, :, 3 - free :])


def rotation_vectors(start: Array, end: Array) -> NDArray[np.float64]:
    """Return ω (Q, r, 3), R_end = R_start exp(ω), of quaternions (Q, 4) and (r, 4)."""
    v, w = start[:, None, :3], start[:, None, 3:]
    u, s = end[None, :, :3], end[None, :, 3:]
    vector = w * u - s * v - np.cross(v, u)
    scalar = w * s + (v * u).sum(axis=2, keepdims=True)
    vector = np.where(scalar < 0, -vector, vector)
    sine = np.linalg.norm(vector, axis=2, keepdims=True)
    angle = 2 * np.arctan2(sine, np.abs(scalar))
    return np.asarray(
        vector * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2)
    )


def turns_between(one: Array, other: Array) -> NDArray[np.float64]:
    """Return angles in rad between rotations, quaternions (..., 4) that broadcast.

    Examples
    --------
    >>> turns_between(np.array([0, 0, 0, 1.0]), np.array([0, 0, 1.0, 0])).round(3)
    np.float64(3.142)
    """
    along = np.abs((one * other).sum(axis=-1))
    return np.asarray(2 * np.arccos(np.minimum(along, 1.0)))
