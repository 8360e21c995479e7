"""Integrals of likelihoods over the shifts of a search's window, for each rotation.

What they are for, and by what formula, stands in `funpipe.engine.posterior`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.prior import truncated

__all__ = ["Rows", "over_shifts"]

Array: TypeAlias = NDArray[Any]

_REACH = 13.0  # poses less likely than the best by so much, in ln L, do not count
_SMALL = 6.0  # rotations so much above that are summed over the grid alone
_HOLE = 0.75  # voxels, of φ around the best shift of a rotation
_FARTHEST = 1.5  # voxels, of a peak from the point beside which it is sought
_FLATTEST = 0.05  # 1/voxel², the least curvature of what counts as a peak


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
        Shifts on a lattice, and how much of the window is each one's.
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
    sums[rows] -= _moments(share, start, block.offsets * block.apart)
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
    apart: NDArray[np.float64]
    """(3,), voxels from point to point."""

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
        return np.asarray(values @ weight.T) / self.apart[list(self.axes)]

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
        apart = self.apart[list(self.axes)]
        return np.asarray(np.einsum("kb,ijb->kij", values, weight)) / np.outer(
            apart, apart
        )

    def _ways(self) -> Array:
        return np.eye(3, dtype=np.int64)[list(self.axes)]

    def _column(self, offset: Array) -> int:
        return int(np.flatnonzero((self.offsets == offset).all(axis=1))[0])


def _block(shifts: Array) -> _Block:
    shape = tuple(len(np.unique(axis)) for axis in shifts.T)
    ways = [(0, -1, 1) if size > 1 else (0,) for size in shape]
    axes = tuple(axis for axis, size in enumerate(shape) if size > 1)
    apart = np.ptp(shifts, axis=0) / np.maximum(np.array(shape) - 1, 1)
    return _Block(shape, axes, np.array(list(itertools.product(*ways))), apart)


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
    way = np.array([-1, 0, 1]) * block.apart[axes, None] - step[..., None]
    each = np.exp(way**2 / (-2 * _HOLE**2))
    hole = there.astype(np.float64)[:, None]
    for i, axis in enumerate(axes):
        hole = hole * each[:, i, block.offsets[:, axis] + 1]
    # What of it is beyond the faces of the window is not there.
    inside, middle, variance = truncated(start[:, axes] + step, variance, window[axes])
    mean = start.copy()
    mean[:, axes] = middle
    square = (mean**2).sum(axis=1) + variance.sum(axis=1)
    return _Peak(height, volume * inside.prod(axis=1), mean, square, hole)
