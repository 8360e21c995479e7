"""Closed contours in planes, and the solids that they outline plane by plane.

All lengths are in voxels, of which the first has its centre at 0. A plane lies at its z
and holds closed polygons of corners y, x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = ["Plane", "Solid", "signed_depth", "within"]

Array: TypeAlias = NDArray[Any]


class Plane(NamedTuple):
    """Closed polygons that lie in one plane."""

    z: float
    polygons: Sequence[Array]
    """Of each its corners, (n, 2), y and x; the last is joined to the first."""


def within(polygons: Sequence[Array], low: Array, high: Array) -> NDArray[np.bool_]:
    """Tell which points of a grid lie within polygons, by the even-odd rule.

    A polygon in another one is a hole, one in a hole is not. Where two touch, each
    point on their border is of one of them.

    Parameters
    ----------
    polygons : sequence of (n, 2) arrays
        Corners y, x.
    low, high : (int, int)
        The first point, and the one after the last, y, x.

    Returns
    -------
    (y, x) array of bool

    Examples
    --------
    >>> square = np.array([(0.5, 0.5), (0.5, 4.5), (3.5, 4.5), (3.5, 0.5)])
    >>> hole = np.array([(1.5, 1.5), (1.5, 3.5), (2.5, 3.5), (2.5, 1.5)])
    >>> within([square, hole], (0, 0), (4, 6)).astype(int)
    array([[0, 0, 0, 0, 0, 0],
           [0, 1, 1, 1, 1, 0],
           [0, 1, 0, 0, 1, 0],
           [0, 1, 1, 1, 1, 0]])
    """
    (top, left), (bottom, right) = low, high
    turns = np.zeros((bottom - top, right - left + 1), np.uint8)
    for polygon in polygons:
        corners = np.asarray(polygon, float)
        # From the upper corner on, so that two polygons cut a shared edge alike.
        ends = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        ends = np.take_along_axis(ends, np.argsort(ends[:, :, :1], axis=1), axis=1)
        (y, x), (below, across) = ends[:, 0].T, ends[:, 1].T
        first, last = (np.clip(np.ceil(each), top, bottom) for each in (y, below))
        count = (last - first).astype(int)
        edge = np.repeat(np.arange(len(ends)), count)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        row = row + first.astype(int)[edge]
        along = (row - y[edge]) / (below[edge] - y[edge])
        cut = np.ceil(x[edge] + along * (across[edge] - x[edge]))
        column = np.clip(cut, left, right).astype(int)
        np.bitwise_xor.at(turns, (row - top, column - left), 1)
    found = np.bitwise_xor.accumulate(turns, axis=1)[:, :-1]
    return np.ascontiguousarray(found).view(np.bool_)


def signed_depth(inside: Array) -> NDArray[np.float32]:
    """Return how deep each point lies inside; outside it is below 0.

    Parameters
    ----------
    inside : (y, x) array of bool
        Both True and False are in it; if not, all are as deep as it is large.

    Returns
    -------
    (y, x) array
        The distance to the nearest point of the other side, less half a step.

    Examples
    --------
    >>> signed_depth(np.array([[False, True, True, True]])).tolist()
    [[-0.5, 0.5, 1.5, 2.5]]
    """
    if inside.all() or not inside.any():
        far = math.hypot(*inside.shape)
        return np.full(inside.shape, far if inside.all() else -far, np.float32)
    distance = scipy.ndimage.distance_transform_edt
    found = np.where(inside, distance(inside), -distance(~inside))
    return np.asarray(found - np.copysign(0.5, found), np.float32)


class Solid(NamedTuple):
    """What the contours of one object outline.

    Between two planes that follow one another its outline goes over from one into the
    other: a point is inside if its depths in both, weighted by how near they are, are
    above 0 together (shape-based interpolation: S. P. Raya and J. K. Udupa, IEEE
    Trans. Med. Imaging 9, 32, 1990). So it is inside where it is in both, and outside
    where it is in neither. Planes of which no point is inside both, as of two things
    in one object, are not joined: there, and at its ends, the solid goes on for half
    the thickness of a plane.
    """

    planes: Sequence[Plane]
    """In rising order of their z, each z once."""
    half: float
    """Half the thickness of a plane, 0.5 or more."""

    def extent(self) -> tuple[Array, Array]:
        """Return what holds it: the first voxel, and the one after the last, z y x."""
        corners = np.concatenate([each for one in self.planes for each in one.polygons])
        first, last = self.planes[0].z - self.half, self.planes[-1].z + self.half
        low = np.floor([first, *corners.min(axis=0)])
        high = np.ceil([last, *corners.max(axis=0)])
        return low, high + 1

    def slices(
        self, zs: range, low: Array, high: Array
    ) -> Iterator[NDArray[np.bool_] | None]:
        """Yield for each z which points of a grid lie inside, None where none does.

        Parameters
        ----------
        zs : range
            Voxels along z, in rising order.
        low, high : (int, int)
            The first point of the grid, and the one after the last, y, x. Of what
            lies outside of it nothing is known to the depths.
        """
        k, gap = -1, _Gap(None, self._raster(0, low, high))
        for z in zs:
            before = k
            while k + 1 < len(self.planes) and self.planes[k + 1].z <= z:
                k += 1
            if k > before:
                known = gap.next if k == before + 1 else self._raster(k, low, high)
                gap = _Gap(known, self._raster(k + 1, low, high))
            yield gap.at(z, self.half)

    def _raster(self, k: int, low: Array, high: Array) -> _Raster | None:
        if k == len(self.planes):
            return None
        plane = self.planes[k]
        return _Raster(plane.z, within(plane.polygons, low, high))


@dataclass(frozen=True, eq=False)
class _Raster:
    z: float
    inside: NDArray[np.bool_]

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        return signed_depth(self.inside)


@dataclass(frozen=True, eq=False)
class _Gap:
    """What lies between two planes, the last and the next, of which one may be none."""

    last: _Raster | None
    next: _Raster | None

    @cached_property
    def joined(self) -> bool:
        if self.last is None or self.next is None:
            return False
        return bool((self.last.inside & self.next.inside).any())

    def at(self, z: int, half: float) -> NDArray[np.bool_] | None:
        last, next = self.last, self.next
        if last and z == last.z:
            return last.inside
        if last and next and self.joined:
            weight = np.float32((z - last.z) / (next.z - last.z))
            found = (1 - weight) * last.depth + weight * next.depth > 0
            return np.asarray(found)
        if last and z - last.z < half:
            return last.inside
        if next and next.z - z <= half:
            return next.inside
        return None
