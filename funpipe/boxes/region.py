"""The part of a tomogram that is looked at: which of its voxels are inside."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.digests import array_digest
from funpipe.boxes.inside import (
    Bits,
    Marked,
    NotFiniteError,
    matching,
    packed,
    voxel_of,
)
from funpipe.io.rows import saved_array
from funpipe.io.voxels import Lazy, read_block

__all__ = [
    "Index",
    "Region",
    "extent_of",
    "naming",
    "planes_of",
    "refuse_empty",
    "region_of_bits",
]

Array: TypeAlias = NDArray[Any]
Index: TypeAlias = tuple[int, int, int]

_SMALL = 2**16  # bytes of what goes along with each part of a job
_TOGETHER = 2**24  # voxels that are counted at once


@dataclass(frozen=True, eq=False)
class Region:
    """Which voxels of a tomogram are looked at.

    It pickles: a file goes along as its path, and is opened where it is read. An array
    goes along by its bits, unless `elsewhere` has put these into a file.

    Examples
    --------
    >>> slab = "z from 2 to 4 nm"
    >>> region = Region((10, 8, 8), (2, 0, 0), (5, 8, 8), None, slab)
    >>> region.block((1, 0, 0), (6, 1, 1)).ravel().astype(int)
    array([0, 1, 1, 1, 0])
    >>> region.bounds, region.count()
    (((2, 0, 0), (5, 8, 8)), 192)
    """

    shape: Index
    """Voxels of the tomogram, z, y, x."""
    low: Index
    """Nothing lies inside before this voxel, z, y, x,"""
    high: Index
    """nor from this one on."""
    marked: Marked | None
    """Which of the voxels between are inside; None: all."""
    text: str
    """What it was made of, in a few words."""
    name: str = "region"
    """The argument, for errors."""

    @property
    def bounds(self) -> tuple[Index, Index]:
        """Return the first voxel that can be inside, and the one after the last."""
        return self.low, self.high

    def block(self, low: Any, high: Any) -> NDArray[np.bool_]:
        """Tell which voxels of a block are inside, reading no more than is needed.

        Parameters
        ----------
        low, high : (int, int, int)
            The first voxel, and the one after the last, z, y, x. What lies outside of
            the tomogram is not inside.

        Returns
        -------
        (z, y, x) array of bool
            A new one.

        Raises
        ------
        ValueError, OSError
            If there is NaN or infinity in what is read, or it cannot be read any more.
        """
        start, stop = np.array(low, dtype=int), np.array(high, dtype=int)
        found = np.zeros(np.maximum(stop - start, 0), np.bool_)
        first, last = np.maximum(start, self.low), np.minimum(stop, self.high)
        if (first < last).all():
            z, y, x = (
                slice(a, b) for a, b in zip(first - start, last - start, strict=True)
            )
            with naming(self.name):
                marked = self.marked
                found[z, y, x] = marked is None or marked.read(first, last)
        return found

    def count(self) -> int:
        """Return how many voxels are inside, reading all of it once.

        Raises
        ------
        ValueError
            If none is: of a file only this tells.
        """
        (begin, top, left), (end, bottom, right) = self.bounds
        plane = (bottom - top) * (right - left)
        if self.marked is None:
            return (end - begin) * plane
        step, total = max(1, _TOGETHER // plane), 0
        for z in range(begin, end, step):
            last = (min(z + step, end), bottom, right)
            total += int(np.count_nonzero(self.block((z, top, left), last)))
        if total == 0:
            refuse_empty(self.name, self.text)
        return total

    def describe(self) -> str:
        """Return in a few words where it is looked, for a record.

        Examples
        --------
        >>> Region((4, 4, 4), (0, 0, 0), (4, 4, 4), None, "everywhere").describe()
        'everywhere'
        """
        return self.text

    def facts(self) -> tuple[Any, ...]:
        """Return what tells it from other regions, for a digest.

        Of a file it is which one it is, its size and time; of anything else its
        content, all of which is read.
        """
        bounds = (self.shape, self.low, self.high)
        marked = self.marked
        if marked is None:
            return bounds
        source = marked.source
        if isinstance(source, str):
            content = f"{os.path.realpath(source)} {marked.known}"
        else:
            content = array_digest(_rows(source))
        rest = (marked.shape, marked.ratio, marked.labels, marked.at, marked.first)
        return (*bounds, content, *rest)

    def elsewhere(self, folder: Path) -> Region:
        """Return it as it goes to other processes: large arrays are put into a folder.

        Parameters
        ----------
        folder : path
            Where they can read. What cannot travel, as an array of h5py, is put there
            too, as bits.
        """
        marked = self.marked
        if marked is None or isinstance(marked.source, str | Lazy):
            return self
        if not isinstance(marked.source, Bits):
            if _is_small(marked.source):
                return self
            with naming(self.name):
                planes = planes_of(marked.source, marked.labels)
                bits = packed(planes, extent_of(marked.source))
            marked = replace(marked, source=bits, labels=None)
        rows = marked.source.rows
        if isinstance(rows, np.ndarray) and rows.nbytes > _SMALL:
            stored = saved_array(folder / f"region-{array_digest(rows)}", rows)
            marked = replace(marked, source=replace(marked.source, rows=stored))
        return replace(self, marked=marked)


def region_of_bits(
    bits: Bits,
    own: Index,
    ratio: float,
    first: Index,
    shape: Index,
    text: str,
    name: str,
) -> Region:
    """Return what some bits mark, of which the first is a voxel of their whole."""
    along_x = np.bitwise_or.reduce(bits.rows, axis=(0, 1))
    columns = np.unpackbits(along_x)[: bits.shape[2]]
    seen = (bits.rows.any(axis=(1, 2)), bits.rows.any(axis=(0, 2)), columns > 0)
    low, high, begin, end = [], [], [], []
    for axis, found in enumerate(seen):
        inside = np.flatnonzero(found)
        if not inside.size:
            refuse_empty(name, text)
        begin.append(int(inside[0]))
        end.append(int(inside[-1]) + 1)
        voxels = voxel_of(0, shape[axis], ratio, own[axis]) - first[axis]
        low.append(int(np.searchsorted(voxels, begin[axis])))
        high.append(int(np.searchsorted(voxels, end[axis])))
    if min(b - a for a, b in zip(low, high, strict=True)) < 1:  # between larger voxels
        refuse_empty(name, text)
    begin[2] -= begin[2] % 8  # whole bytes stay as they are
    rows = bits.rows[
        begin[0] : end[0], begin[1] : end[1], begin[2] // 8 : -(-end[2] // 8)
    ]
    kept = Bits(
        (end[0] - begin[0], end[1] - begin[1], end[2] - begin[2]),
        np.ascontiguousarray(rows),
    )
    z, y, x = (a + b for a, b in zip(first, begin, strict=True))
    marked = Marked(kept, own, ratio, first=(z, y, x))
    return Region(
        shape, (low[0], low[1], low[2]), (high[0], high[1], high[2]), marked, text, name
    )


def planes_of(
    array: Any, labels: tuple[int, ...] | None
) -> Iterator[NDArray[np.bool_]]:
    """Yield z by z which voxels of an array are not 0, or are one of some labels."""
    _, y, x = extent_of(array)
    for z in range(array.shape[0]):
        yield matching(read_block(array, (z, 0, 0), (z + 1, y, x)), labels)[0]


def extent_of(array: Any) -> Index:
    """Return the shape of a 3-D array-like as plain ints."""
    z, y, x = (int(each) for each in array.shape)
    return z, y, x


def refuse_empty(name: str, text: str) -> NoReturn:
    """Raise the error of a region that has no voxel inside."""
    raise ValueError(f"{name} must hold a voxel of the tomogram, but {text} marks none")


def _is_small(array: Any) -> bool:
    try:
        return len(pickle.dumps(array)) <= _SMALL
    except Exception:  # of another library's object
        return False


def _rows(source: Any) -> Any:
    return source.rows if isinstance(source, Bits) else source


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the argument in errors of what is read."""
    try:
        yield
    except NotFiniteError as error:
        raise ValueError(f"{name} {error}") from None
