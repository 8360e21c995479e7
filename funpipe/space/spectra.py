"""Fourier transforms between the frequencies of a box: a fine grid, and a gather.

A transform is evaluated on a grid some times finer than its box's own, by products
with matrices of waves, and between the grid's points by linear interpolation. In real
space that multiplies the image by sinc²(x / L) along each axis, L the period of the
fine grid, and adds copies of it a distance L away, faint ones, since L is some boxes
long. The factor is divided out beforehand (gridding: J. D. O'Sullivan, IEEE Trans.
Med. Imaging 4, 200, 1985), the copies are the error: of what lies x from the centre
along an axis, about (x / L)².
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = ["FineGrid", "Gather", "fine_grid", "gather", "roll_off"]

Array: TypeAlias = NDArray[Any]


class FineGrid(NamedTuple):
    """Frequencies on a grid: whole multiples of 1 / period along z, y, x.

    Only those with z ≥ 0: of a real image the others are their conjugates.
    """

    periods: tuple[int, int, int]
    """Points of the grid per period per voxel."""
    below: tuple[int, int, int]
    """How many points lie before frequency 0."""
    above: tuple[int, int, int]
    """How many after it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along z, y, x."""
        z, y, x = (a + 1 + b for a, b in zip(self.below, self.above, strict=True))
        return z, y, x

    def axes(self) -> list[NDArray[np.float64]]:
        """Return the frequencies along z, y, x, in periods per voxel."""
        return [
            np.arange(-below, above + 1) / period
            for period, below, above in zip(*self, strict=True)
        ]


def fine_grid(periods: tuple[int, int, int], finest: float) -> FineGrid:
    """Return the grid that holds all frequencies up to one.

    Parameters
    ----------
    periods : (int, int, int)
        Points of the grid per period per voxel.
    finest : float
        The highest frequency, in periods per voxel.

    Examples
    --------
    >>> fine_grid((32, 32, 32), 0.25).shape
    (10, 19, 19)
    """
    z, y, x = (math.ceil(finest * period) + 1 for period in periods)
    return FineGrid(periods, (0, y, x), (z, y, x))


def roll_off(
    shape: tuple[int, ...], periods: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Return what linear interpolation makes of each voxel, Π sinc²(x / L).

    Examples
    --------
    >>> roll_off((1, 1, 3), (6, 6, 6)).round(3)
    array([[[0.912, 1.   , 0.912]]])
    """
    z, y, x = (
        np.sinc((np.arange(n) - (n - 1) / 2) / period) ** 2
        for n, period in zip(shape, periods, strict=True)
    )
    return np.asarray(z[:, None, None] * y[:, None] * x)


class Gather(NamedTuple):
    """How values at N frequencies follow from those on a grid."""

    matrix: Any
    """(N, grid points), a sparse array of float32: it interpolates linearly."""
    sign: NDArray[np.float32]
    """(N,): −1 where imaginary parts are to be negated, else 1."""


def gather(points: Array, grid: FineGrid, copies: int = 1) -> Gather:
    """Return how to interpolate linearly between points of a grid.

    Parameters
    ----------
    points : (..., 3) array
        N frequencies in periods per voxel, z, y, x; of as many grids as there are
        copies, as many for each.
    grid : FineGrid
        Where the values are known.
    copies : int
        How many grids there are, one behind the other.

    Returns
    -------
    Gather
        A matrix of (N, copies · grid points). Beyond the grid its products mean
        nothing, but nothing outside it is read, whatever the points.
    """
    size = grid.shape
    count = points.size // 3
    strides = (size[1] * size[2], size[2], 1)
    # The csr format's own; int32 while all points of the grids can be counted.
    total = math.prod(size)
    kind = np.dtype(np.int32 if copies * total < 2**31 else np.int64)
    starts = np.arange(0, copies * total, total, dtype=kind)
    first = np.repeat(starts, count // copies)
    sign = np.where(points[..., 0] < 0, np.float32(-1), np.float32(1))
    parts = []
    for axis, stride in enumerate(strides):
        where = (points[..., axis] * sign).reshape(-1)
        where *= grid.periods[axis]
        where += grid.below[axis]
        with np.errstate(invalid="ignore"):  # NaN is no index, and comes out as NaN
            corner = where.astype(np.int32)  # truncation is floor: none is negative
        np.clip(corner, 0, size[axis] - 2, out=corner)
        part = np.empty(count, np.float32)
        np.subtract(where, corner, out=part, casting="same_kind")
        parts.append((1 - part, part))
        first += np.multiply(corner, stride, dtype=kind)
    corners = itertools.product((0, 1), repeat=3)
    steps = np.array([np.dot(each, strides) for each in corners], kind)
    columns = np.empty((count, 8), kind)
    weights = np.empty((count, 8), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # of points beyond the grid
        faces = [z * y for z, y in itertools.product(parts[0], parts[1])]
        for i, step in enumerate(steps):
            np.multiply(faces[i // 2], parts[2][i % 2], out=weights[:, i])
            np.add(first, step, out=columns[:, i])
    matrix = scipy.sparse.csr_array((count, copies * total), dtype=np.float32)
    # Set, as they are right: they would be searched for their smallest and largest.
    matrix.data = weights.reshape(-1)
    matrix.indices = columns.reshape(-1)
    matrix.indptr = np.arange(0, 8 * count + 1, 8, dtype=kind)
    return Gather(matrix, sign.reshape(-1))
