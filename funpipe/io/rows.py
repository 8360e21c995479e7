"""Arrays that lie in a file as they are: boxes of them, read row by row.

They are read and not mapped into memory, for a mapped file that another program cuts
short ends the process without a word; here it is an error.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator
from functools import partial
from io import FileIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import ChangedError
from funpipe.base.sources import State, state_of
from funpipe.io.voxels import Box, Lazy

__all__ = ["mapped_array", "saved_array", "stored_array"]

_GAP = 2**14  # bytes between two rows, above which each is sought by itself
_SCRATCH = 2**20  # bytes that are read at once where rows are read whole


class _Stored(NamedTuple):
    """Where an array lies in a file, and how."""

    path: str
    state: State
    """The file's, when it was opened."""
    shape: tuple[int, int, int]
    """Voxels along the axes of the file, the slowest first."""
    dtype: np.dtype[Any]
    offset: int
    axes: tuple[int, int, int]
    """Which axis of the file z, y and x are."""


def stored_array(
    name: str,
    shape: Any,
    dtype: Any,
    offset: int,
    axes: tuple[int, int, int] = (0, 1, 2),
    *,
    timed: bool = True,
) -> Lazy:
    """Return an array that lies in a file in C order, read where it is sliced.

    Parameters
    ----------
    name : str
        The file.
    shape : (int, int, int)
        Voxels along the axes of the file, the slowest first.
    dtype : dtype
        Of its numbers.
    offset : int
        Bytes before the first of them.
    axes : (int, int, int)
        Which axis of the file z, y and x are.
    timed : bool
        Whether the time at which the file was last written to counts.

    Returns
    -------
    Lazy
        Where it is sliced, it opens the file anew, and raises a ValueError if that
        is another one by then, by its length or its time.
    """
    lengths = (int(shape[0]), int(shape[1]), int(shape[2]))
    path = os.path.abspath(name)
    state = state_of(path) if timed else state_of(path)._replace(time=None)
    stored = _Stored(path, state, lengths, np.dtype(dtype), int(offset), axes)
    turned = (lengths[axes[0]], lengths[axes[1]], lengths[axes[2]])
    return Lazy(turned, stored.dtype, partial(_read, stored))


def saved_array(path: str | os.PathLike[str], array: NDArray[Any]) -> Lazy:
    """Write an array to a file, where none is yet, and return it as it lies there."""
    name = os.fspath(path)
    if not os.path.exists(name):
        np.asarray(array).tofile(name)
    return stored_array(name, array.shape, array.dtype, 0, timed=False)


def mapped_array(array: NDArray[Any]) -> Lazy | None:
    """Return an array of `np.memmap` as it lies in its file.

    None where it lies in none, as a copy does, or is not all that lies there in a row.
    """
    mapped = getattr(array, "_mmap", None)
    if not isinstance(array, np.memmap) or mapped is None or array.mode == "c":
        return None
    order = np.argsort([-each for each in array.strides], kind="stable")
    rows = array.transpose(order)
    if not rows.flags.c_contiguous or not os.path.isfile(str(array.filename)):
        return None
    if array.mode != "r":
        array.flush()
    # The offset that a part of a mapped array says is that of the whole.
    begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    begin += array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    z, y, x = (int(each) for each in np.argsort(order))
    name = str(array.filename)
    timed = array.mode == "r"  # what is mapped to be written may get its time late
    return stored_array(name, rows.shape, array.dtype, begin, (z, y, x), timed=timed)


def _read(stored: _Stored, box: Box) -> NDArray[Any]:
    """Read a box, z, y, x."""
    of_axis = dict(zip(stored.axes, box, strict=True))
    z, y, x = (of_axis[axis] for axis in range(3))
    extent = [each.stop - each.start for each in (z, y, x)]
    block: NDArray[Any] = np.empty(extent, stored.dtype)
    with open(stored.path, "rb", buffering=0) as file:
        stored.state.check(stored.path, os.fstat(file.fileno()))
        _fill(file, stored, block, z.start, y.start, x.start)
        stored.state.check(stored.path, os.fstat(file.fileno()))
    return block.transpose(stored.axes)


def _fill(
    file: FileIO, stored: _Stored, block: NDArray[Any], z: int, y: int, x: int
) -> None:
    """Fill a block whose first voxel is z, y, x in the file."""
    _, ny, nx = stored.shape
    depth, height, width = block.shape
    bytes_of_row = nx * stored.dtype.itemsize
    if width == nx and height == ny:
        _take(file, stored, (z * ny) * nx, block)
    elif width == nx:
        for i in range(depth):
            _take(file, stored, ((z + i) * ny + y) * nx, block[i])
    elif bytes_of_row - width * stored.dtype.itemsize > _GAP:
        for i, j in np.ndindex(depth, height):
            _take(file, stored, ((z + i) * ny + y + j) * nx + x, block[i, j])
    else:
        planes = max(1, min(depth, _SCRATCH // (height * bytes_of_row)))
        rows = max(1, min(height, _SCRATCH // bytes_of_row))
        scratch: NDArray[Any] = np.empty((planes, rows, nx), stored.dtype)
        for (i, many), (j, some) in itertools.product(
            _parts(depth, planes), _parts(height, rows)
        ):
            for part in range(many):
                first = ((z + i + part) * ny + y + j) * nx
                _take(file, stored, first, scratch[part, :some])
            block[i : i + many, j : j + some] = scratch[:many, :some, x : x + width]


def _parts(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield where each part of at most so many begins, and how many it has."""
    for start in range(0, count, most):
        yield start, min(most, count - start)


def _take(file: FileIO, stored: _Stored, first: int, into: NDArray[Any]) -> None:
    """Fill a contiguous array from a voxel on."""
    at = stored.offset + first * stored.dtype.itemsize
    left = into.reshape(-1).view(np.uint8).data
    while left:
        count = _read_at(file, left, at)
        if not count:
            said = f"it ends at byte {at}, and {len(left)} more are missing"
            raise ChangedError(stored.path, said)
        left, at = left[count:], at + count


def _read_at(file: FileIO, into: memoryview, at: int) -> int | None:
    """Read bytes from a place on; return how many, at the end of the file 0."""
    if hasattr(os, "preadv"):  # not everywhere
        return os.preadv(file.fileno(), [into], at)
    file.seek(at)
    return file.readinto(into)
