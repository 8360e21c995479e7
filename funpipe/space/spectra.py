"""Fourier transforms between the frequencies of a box: a fine grid, and a gather.

A transform is evaluated on a grid some times finer than its box's own, by products
with matrices of waves, and between the grid's points by linear interpolation. In real
space that multiplies the image by sinc²(x / L) along each axis, L the period of the
fine grid, and adds copies of it a distance L away, faint ones, since L is some boxes
long. The factor is divided out beforehand (gridding: J. D. O'Sullivan, IEEE Trans.
Med. Imaging 4, 200, 1985), the copies are the error: of what lies x from the centre
along an axis, about (x / L)².

The image being real, frequencies with z < 0 are the conjugates of others. Of those with
z ≥ 0 each pair of signs of y and x is a quadrant. Its transforms are sums of the same
eight products, of cosines and sines along each axis, with signs:

    Re F = ccc − σ_y σ_x css − σ_x scs − σ_y ssc
    Im F = −scc − σ_y csc − σ_x ccs + σ_y σ_x sss.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = [
    "FineGrid",
    "can_compile",
    "fine_grid",
    "quadrants",
    "roll_off",
    "sample",
    "sample_each",
]

Array: TypeAlias = NDArray[Any]


class FineGrid(NamedTuple):
    """Frequencies on a grid: whole multiples of 1 / period along z, y, x.

    Those of one quadrant, none of them negative; there are four, see `quadrants`.
    """

    periods: tuple[int, int, int]
    """Points of the grid per period per voxel."""
    shape: tuple[int, int, int]
    """Points along z, y, x, the first at frequency 0."""

    def axes(self) -> list[NDArray[np.float64]]:
        """Return the frequencies along z, y, x, in periods per voxel."""
        return [
            np.arange(n) / period
            for n, period in zip(self.shape, self.periods, strict=True)
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
    (10, 10, 10)
    """
    z, y, x = (math.ceil(finest * period) + 2 for period in periods)
    return FineGrid(periods, (z, y, x))


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


# From images to the grid.


def quadrants(
    images: Iterable[Array],
    shape: tuple[int, ...],
    axes: Sequence[Array],
    *,
    compiled: bool = False,
) -> Iterator[NDArray[np.complex64]]:
    """Yield images' Fourier transforms about the centre of the box, on a grid.

    As products of matrices, a stack of images at a time, and in the same memory. An
    image's transform does not depend on the others.

    Parameters
    ----------
    images : iterable of (..., z, y, x) arrays
        Boxes of voxels, or stacks of them, none larger than the first.
    shape : (int, int, int)
        Of each.
    axes : three arrays
        Frequencies along z, y and x, in periods per voxel, none of them negative.
    compiled : bool
        See `sample`.

    Yields
    ------
    (..., 2, 2, a, b, c) array of complex64
        Σ image(q) exp(−2πi k·(q − c)); the axes of length 2 are the signs of k_y and
        k_x, first plus. It is overwritten by the next one.

    Examples
    --------
    >>> image = np.zeros((4, 4, 5)); image[1, 2, 3] = 1
    >>> axes = [np.zeros(1), np.zeros(1), np.array([0.25])]
    >>> [F] = [each.copy() for each in quadrants([image], image.shape, axes)]
    >>> F[0, :, 0, 0, 0].round(3)
    array([0.-1.j, 0.+1.j], dtype=complex64)
    """
    waves = [_half_waves(n, along) for n, along in zip(shape, axes, strict=True)]
    counts = [len(each) for each in axes]
    half = [(n + 1) // 2 for n in shape]
    sizes = [
        math.prod(counts[:i]) * math.prod(half[i:]) for i in range(len(counts) + 1)
    ]
    room, results = np.empty((2, 0), np.float32), np.empty(0, np.complex64)
    fold, put_together = _folded, _put_together
    if compiled:
        fold, put_together = _folded_fast, _put_together_fast
    for each in images:
        stack = np.asarray(each, np.float32).reshape(-1, *shape)
        if len(stack) > len(results):
            room = np.empty((2, 8 * max(sizes) * len(stack)), np.float32)
            results = np.empty((len(stack), 2, 2, *counts), np.complex64)
        result = results[: len(stack)]
        parts = fold(stack, room)
        for i, wave in enumerate(waves):
            parts = _summed(parts, wave, i, room[i % 2 - 1])
        put_together(parts, room[0], result)
        yield result.reshape(*each.shape[:-3], *result.shape[1:])


def _half_waves(size: int, frequencies: Array) -> NDArray[np.float32]:
    """Return cosines, then sines, at the second half of an axis's voxels, (2, h, a)."""
    offset = np.arange(size // 2, size) - (size - 1) / 2
    angle = 2 * np.pi * np.outer(offset, frequencies)
    waves = np.stack([np.cos(angle), np.sin(angle)])
    if size % 2:
        waves[0, 0] /= 2  # the middle is its own mirror image
    return waves.astype(np.float32)


def _folded(images: Array, room: Array) -> NDArray[np.float32]:
    """Return the sums and differences of images' halves, (n, 2, 2, 2, h, h, h).

    The axes of length 2 say along which axes they are differences.
    """
    parts = images
    for i in range(3):
        n = parts.shape[2 * i + 1]
        size = 2 * parts.size // n * ((n + 1) // 2)
        shape = (*parts.shape[: i + 1], 2, *parts.shape[i + 1 : 2 * i + 1])
        into = room[i % 2, :size].reshape(
            *shape, (n + 1) // 2, *parts.shape[2 * i + 2 :]
        )
        before = (slice(None),) * (2 * i + 1)
        upper = parts[(*before, slice(n // 2, None))]
        lower = parts[(*before, slice((n - 1) // 2, None, -1))]
        both = np.moveaxis(into, i + 1, 0)
        np.add(upper, lower, out=both[0])
        np.subtract(upper, lower, out=both[1])
        parts = into
    return parts


def _summed(parts: Array, waves: Array, axis: int, room: Array) -> NDArray[np.float32]:
    """Return sums over the first of the voxels' axes, its frequencies the last."""
    stack, size, others = parts.shape[:4], parts.shape[4], parts.shape[5:]
    count = waves.shape[2]
    shape = (*stack, math.prod(others), count)
    into = room[: math.prod(shape)].reshape(shape)
    each = np.expand_dims(waves, [j for j in range(3) if j != axis])
    np.matmul(parts.reshape(*stack, size, -1).swapaxes(4, 5), each, out=into)
    return into.reshape(*stack, *others, count)


def _put_together(parts: Array, room: Array, into: Array) -> None:
    """Set the transforms of all quadrants from the eight products."""
    shape = len(parts), *parts.shape[4:]
    u, v, s, d = room[: 4 * math.prod(shape)].reshape(4, *shape)
    (((ccc, ccs), (csc, css)), ((scc, scs), (ssc, sss))) = np.moveaxis(parts, 0, 3)
    np.subtract(ccc, scs, out=u)
    np.add(ccc, scs, out=v)
    np.add(css, ssc, out=s)
    np.subtract(css, ssc, out=d)
    real, imaginary = (np.moveaxis(each, 0, 2) for each in (into.real, into.imag))
    np.subtract(u, s, out=real[0, 0])
    np.add(v, d, out=real[0, 1])
    np.add(u, s, out=real[1, 0])
    np.subtract(v, d, out=real[1, 1])
    np.add(scc, ccs, out=u)
    np.subtract(ccs, scc, out=v)
    np.subtract(sss, csc, out=s)
    np.add(csc, sss, out=d)
    np.subtract(s, u, out=imaginary[0, 0])
    np.subtract(v, d, out=imaginary[0, 1])
    np.add(u, s, out=u)
    np.negative(u, out=imaginary[1, 0])
    np.add(v, d, out=imaginary[1, 1])


def _folded_fast(images: Array, room: Array) -> NDArray[np.float32]:
    from funpipe.space.compiled import folded

    shape = (len(images), 2, 2, 2, *((n + 1) // 2 for n in images.shape[1:]))
    into = room[0, : math.prod(shape)].reshape(shape)
    folded(images, into)
    return into


def _put_together_fast(parts: Array, room: Array, into: Array) -> None:
    from funpipe.space.compiled import put_together

    put_together(parts.reshape(len(parts), 2, 2, 2, -1), into.reshape(len(into), 4, -1))


# Between the points of the grid.


@cache
def can_compile() -> bool:
    """Tell whether numba is installed, which the extra ``fast`` does."""
    return importlib.util.find_spec("numba") is not None


def sample(
    points: Array, values: Array, grid: FineGrid, *, count: int, compiled: bool
) -> NDArray[np.complex64]:
    """Interpolate linearly between the points of a grid.

    Parameters
    ----------
    points : (..., 3) array
        N frequencies in periods per voxel, z, y, x.
    values : (4 · grid points, 2 c) array of float32
        Real and imaginary parts of c transforms at all points of all `quadrants`.
    grid : FineGrid
        Where these are.
    count : int
        How many of the transforms are asked for, the first ones.
    compiled : bool
        Whether by numba, which is some times faster and rounds otherwise.

    Returns
    -------
    (N, count) array of complex64
        The values. Beyond the grid they mean nothing, but nothing outside it is read,
        whatever the points.
    """
    if compiled:
        from funpipe.space.compiled import interpolated

        flat = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
        found = np.empty((len(flat), 2 * count), np.float32)
        interpolated(flat, values, np.array(grid), found)
        return found.view(np.complex64)
    matrix, sign = _gather(points, grid)
    result = np.asarray(matrix @ values[:, : 2 * count]).view(np.complex64)
    result.imag *= sign[:, None]
    return result


def sample_each(
    points: Array, values: Array, grid: FineGrid, *, compiled: bool
) -> NDArray[np.complex64]:
    """Interpolate each of n transforms at points of its own, as `sample` does.

    Parameters
    ----------
    points : (n, N, 3) array
        Frequencies.
    values : (n, 4 · grid points) array of complex64
        One transform each.
    grid, compiled
        As there.

    Returns
    -------
    (n, N) array of complex64
        The values.
    """
    numbers = values[..., None].view(np.float32)
    found = np.empty((*points.shape[:2], 2), np.float32)
    if compiled:
        from funpipe.space.compiled import interpolated_each

        flat = np.ascontiguousarray(points, np.float32)
        interpolated_each(flat, numbers, np.array(grid), found)
        return found.view(np.complex64)[..., 0]
    for at, of_each, into in zip(points, numbers, found, strict=True):
        one = sample(at, of_each, grid, count=1, compiled=False)
        into[...] = one.view(np.float32)
    return found.view(np.complex64)[..., 0]


def _gather(points: Array, grid: FineGrid) -> tuple[Any, NDArray[np.float32]]:
    """Return how values at N frequencies follow from those on a grid.

    A sparse array of (N, 4 · grid points), and (N,) −1 where imaginary parts are to be
    negated, else 1.
    """
    size = grid.shape
    count = points.size // 3
    strides = (size[1] * size[2], size[2], 1)
    total = 4 * math.prod(size)
    # The csr format's own; int32 while all points of the grids can be counted.
    kind = np.dtype(np.int32 if total < 2**31 else np.int64)
    flat = points.reshape(-1, 3)
    lower = flat < 0
    lower[:, 1:] ^= lower[:, :1]  # k and −k are in the same place
    first = (2 * lower[:, 1] + lower[:, 2]).astype(kind) * kind.type(total // 4)
    sign = np.where(lower[:, 0], np.float32(-1), np.float32(1))
    parts = []
    for axis, stride in enumerate(strides):
        where = np.abs(flat[:, axis])
        where *= grid.periods[axis]
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
    matrix = scipy.sparse.csr_array((count, total), dtype=np.float32)
    # Set, as they are right: they would be searched for their smallest and largest.
    matrix.data = weights.reshape(-1)
    matrix.indices = columns.reshape(-1)
    matrix.indptr = np.arange(0, 8 * count + 1, 8, dtype=kind)
    return matrix, sign
