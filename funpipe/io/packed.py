"""Volumes in files that are packed as a whole, unpacked as far as they are read.

Planes that are read one after the other, from the first on, are unpacked on the way
and forgotten: to look through such a file takes no more memory than the planes that are
looked at. Who reads in another order has all of it unpacked, once.
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line
from funpipe.base.sources import State, open_unpacked
from funpipe.io.voxels import Box, Lazy

__all__ = [
    "BEYOND",
    "DAMAGE",
    "Layout",
    "Packed",
    "odd_size",
    "packed_array",
    "unpacked_parts",
]

DAMAGE = (ValueError, OSError, EOFError, zlib.error, TypeError, ArithmeticError)
"""Errors of packing that is damaged, or holds something else; without a number."""

_PART = 2**24  # bytes that are unpacked at a time
BEYOND = 2**20
"""Bytes after the data that are counted."""


@dataclass(frozen=True)
class Packed(Lazy):
    """A 3-D array in a file that is packed: better opened anew than sent around."""

    path: str = ""
    """Its file."""


class Layout(NamedTuple):
    """Where an array lies in what a file unpacks to, and how."""

    path: str
    title: str
    """What the format is called."""
    state: State
    """The file's, when it was opened."""
    shape: tuple[int, int, int]
    """Voxels along the axes of the file, the slowest first."""
    dtype: np.dtype[Any]
    offset: int
    axes: tuple[int, int, int]
    """Which axis of the file z, y and x are."""

    @property
    def plane(self) -> int:
        """Bytes of a plane."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Bytes that the file should unpack to."""
        return self.offset + self.shape[0] * self.plane


def packed_array(layout: Layout) -> Packed:
    """Return an array of a packed file; nothing is unpacked yet."""
    z, y, x = (layout.shape[axis] for axis in layout.axes)
    return Packed((z, y, x), layout.dtype, _Reader(layout), layout.path)


def unpacked_parts(file: IO[bytes], count: int) -> Iterator[bytes]:
    """Yield so many bytes in parts, or as many as there are."""
    while count > 0 and (part := file.read(min(_PART, count))):
        count -= len(part)
        yield part


def odd_size(found: int, expected: int) -> str | None:
    """Say what is odd about how many bytes a file holds; refuse too few.

    Examples
    --------
    >>> odd_size(1030, 1024)
    '1030 bytes, but its header says 1024'
    """
    if found == expected:
        return None
    trouble = f"{found} bytes, but its header says {expected}"
    if found < expected:
        raise ValueError(trouble)
    return trouble


@dataclass
class _Stream:
    """A packed file, unpacked up to a plane."""

    file: IO[bytes]
    plane: int = 0


@dataclass(eq=False)
class _Reader:
    """What reads boxes, for one thread at a time."""

    layout: Layout
    stream: _Stream | None = None
    whole: NDArray[Any] | None = None
    """All of it, along the axes of the file, once it is needed."""
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Reader, (self.layout,)

    def __call__(self, box: Box) -> NDArray[Any]:
        of_axis = dict(zip(self.layout.axes, box, strict=True))
        planes, *rest = (of_axis[axis] for axis in range(3))
        n, *sides = self.layout.shape
        flat = all(
            each == slice(0, side) for each, side in zip(rest, sides, strict=True)
        )
        with self.lock:
            whole = flat and planes == slice(0, n)
            if self.whole is None and (whole or (flat and self._ahead(planes))):
                block = self._planes(planes)
            else:
                if self.whole is None:
                    self.whole = self._planes(slice(0, n))
                block = self.whole[(planes, *rest)].copy()
        return block.transpose(self.layout.axes)

    def _ahead(self, planes: slice) -> bool:
        return self.stream is None or self.stream.plane <= planes.start

    def _planes(self, planes: slice) -> NDArray[Any]:
        """Unpack planes."""
        layout = self.layout
        block: NDArray[Any] = np.empty(
            (planes.stop - planes.start, *layout.shape[1:]), layout.dtype
        )
        with _damage_named(layout):
            stream = self._at(planes.start)
            left = block.reshape(-1).view(np.uint8).data
            for part in unpacked_parts(stream.file, len(left)):
                left[: len(part)] = part
                left = left[len(part) :]
            stream.plane = planes.stop
            if left:
                found = layout.offset + planes.stop * layout.plane - len(left)
                odd_size(found, layout.end)
            layout.state.check(layout.path, os.fstat(stream.file.fileno()))
            if planes.stop == layout.shape[0]:
                self._end(stream)
        return block

    def _at(self, plane: int) -> _Stream:
        """Return the file, unpacked up to a plane."""
        layout, skip = self.layout, 0
        if self.stream is None or self.stream.plane > plane:
            file = open_unpacked(layout.path)
            weakref.finalize(self, file.close)
            layout.state.check(layout.path, os.fstat(file.fileno()))
            self.stream, skip = _Stream(file), layout.offset
        skip += (plane - self.stream.plane) * layout.plane
        for _ in unpacked_parts(self.stream.file, skip):
            pass
        self.stream.plane = plane
        return self.stream

    def _end(self, stream: _Stream) -> None:
        """Close the file, what comes after the data counted; so its sum is checked."""
        beyond = sum(map(len, unpacked_parts(stream.file, BEYOND)))
        stream.file.close()
        self.stream = None
        trouble = odd_size(self.layout.end + beyond, self.layout.end)
        if trouble is not None:
            warn(f"{self.layout.path}: {trouble}; it was read all the same")


@contextmanager
def _damage_named(layout: Layout) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except DAMAGE as error:
        if getattr(error, "errno", None) is not None:
            raise  # the system's own word; damaged packing has no number
        raise FileError(
            layout.path, f" is not a readable {layout.title} file: {in_one_line(error)}"
        ) from None
