"""Which voxels of a tomogram are marked in an array or a file of its extent.

That may have voxels of another size. What marks lies between the same faces as the
tomogram, as where one is binned, so that the faces of the first voxels coincide, not
their centres. A voxel of the tomogram is marked where the one is that its centre is in.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.digests import unchanged
from funpipe.base.sources import State, state_of
from funpipe.io.volumes import open_volume
from funpipe.io.voxels import Lazy, read_block

__all__ = [
    "Bits",
    "Marked",
    "NotFiniteError",
    "extent_ratio",
    "matching",
    "packed",
    "voxel_of",
]

Array: TypeAlias = NDArray[Any]

_TOGETHER = 2**24  # voxels that are read at once
_ROUNDING = 1e-9


def extent_ratio(
    shape: tuple[int, ...], other: tuple[int, ...], stated: float | None = None
) -> float | None:
    """Return how many voxels long one voxel of another array of the same extent is.

    Where shapes are the same it is 1. If not, it is as the scales state, or else
    whole, or one divided by a whole number, where that fits but for a part of a
    voxel, as binning leaves out. If nothing of that does, it is any that fits within
    half a voxel. Of the larger voxels, always.

    Parameters
    ----------
    shape, other : (int, int, int)
        Voxels of a tomogram, and of another array.
    stated : float, optional
        What the scales of both say, where these are known.

    Returns
    -------
    float or None
        None if no ratio fits, or if the shapes are as good as the same, but are not.

    Examples
    --------
    >>> extent_ratio((200, 925, 925), (50, 231, 231)), extent_ratio((9, 9), (6, 6))
    (4.0, 1.5)
    >>> extent_ratio((200, 925, 925), (200, 925, 924)), extent_ratio((4, 8), (8, 4))
    (None, None)
    """
    if tuple(shape) == tuple(other):
        return 1.0
    if min(other) < 1:
        return None
    if stated is not None and _fits(stated, shape, other, 1.0):
        return stated
    n, m = max(zip(shape, other, strict=True))
    for times in (math.floor(max(n / m, m / n)), math.ceil(max(n / m, m / n))):
        whole = float(times) if n > m else 1 / times
        if times > 1 and _fits(whole, shape, other, 1.0):
            return whole
    if all(abs(a - b) <= 1 for a, b in zip(shape, other, strict=True)):
        return None
    bounds = [_bounds(*each) for each in zip(shape, other, strict=True)]
    low, high = max(a for a, _ in bounds), min(b for _, b in bounds)
    found = min(max(n / m, low), high)
    return found if low < high and _fits(found, shape, other, 0.5 + _ROUNDING) else None


def _fits(
    ratio: float, shape: tuple[int, ...], other: tuple[int, ...], slack: float
) -> bool:
    most = slack * max(ratio, 1.0)
    return all(abs(n - ratio * m) < most for n, m in zip(shape, other, strict=True))


def _bounds(n: int, m: int) -> tuple[float, float]:
    """Return the ratios that fit within half of a larger voxel."""
    if n > m:
        return n / (m + 0.5), n / (m - 0.5)
    return (n - 0.5) / m, (n + 0.5) / m


def voxel_of(low: int, high: int, ratio: float, count: int) -> NDArray[np.intp]:
    """Return in which voxels the centres of a tomogram's are, along one axis.

    Examples
    --------
    >>> voxel_of(0, 9, 4.0, 2).tolist(), voxel_of(1, 3, 0.5, 6).tolist()
    ([0, 0, 0, 0, 1, 1, 1, 1, 1], [3, 5])
    """
    centres = (np.arange(low, high) + 0.5) / ratio
    return np.minimum(centres.astype(np.intp), count - 1)


@dataclass(frozen=True, eq=False)
class Bits:
    """A 3-D array of bool, eight voxels to a byte, unpacked where it is sliced.

    Examples
    --------
    >>> image = np.arange(24).reshape(2, 3, 4) % 5 == 0
    >>> bits = packed(image, image.shape)
    >>> np.array_equal(bits[0:2, 1:3, 1:4], image[:, 1:, 1:])
    True
    """

    shape: tuple[int, int, int]
    rows: Any
    """(z, y, x / 8) array-like of uint8."""

    @property
    def dtype(self) -> np.dtype[np.bool_]:
        """Return bool."""
        return np.dtype(np.bool_)

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
        z, y, x = box
        begin = x.start // 8
        rows = self.rows[z, y, begin : -(-x.stop // 8)]
        found = np.unpackbits(rows, axis=2)
        at = x.start - 8 * begin
        return found[:, :, at : at + x.stop - x.start].view(np.bool_)


def packed(planes: Iterable[Array], shape: tuple[int, int, int]) -> Bits:
    """Return planes of bool, z by z, as bits."""
    z, y, x = shape
    rows = np.zeros((z, y, -(-x // 8)), np.uint8)
    for i, each in enumerate(planes):
        rows[i] = np.packbits(each, axis=1)
    return Bits(shape, rows)


class NotFiniteError(ValueError):
    """Marks have NaN or infinity; whose they are, who reads them knows."""


def matching(voxels: Array, labels: tuple[int, ...] | None) -> NDArray[np.bool_]:
    """Tell which voxels are not 0, or are one of some labels.

    Raises
    ------
    ValueError
        If there is NaN or infinity among them.
    """
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise NotFiniteError("must be finite, but has NaN or infinity in it")
    if labels is None:
        return np.asarray(voxels != 0)
    return np.asarray(np.isin(voxels, np.array(labels)))


@dataclass(frozen=True, eq=False)
class Marked:
    """The voxels of a tomogram that are marked in something of its extent."""

    source: Any
    """Array-like (z, y, x), or path of a file, which each process opens for itself."""
    shape: tuple[int, int, int]
    """Voxels of all of it, z, y, x."""
    ratio: float
    """How long one of them is, in voxels of the tomogram."""
    labels: tuple[int, ...] | None = None
    """Those of what is marked; None for all that are not 0."""
    at: float | None = None
    """nm per voxel of the tomogram, for a file that has its image at several scales."""
    first: tuple[int, int, int] = (0, 0, 0)
    """The voxel that the source begins with; before it nothing is marked."""
    known: str | None = None
    """What a file was like when it was opened first, see `file_state`."""

    def read(self, low: Array, high: Array) -> NDArray[np.bool_]:
        """Tell which voxels of a block of the tomogram are marked.

        Parameters
        ----------
        low, high : (int, int, int)
            The first voxel, and the one after the last, z, y, x: none of them lies
            where the source has nothing.
        """
        array = self._opened()
        z, y, x = (
            voxel_of(int(a), int(b), self.ratio, n) - begin
            for a, b, n, begin in zip(low, high, self.shape, self.first, strict=True)
        )
        found = np.empty((len(z), len(y), len(x)), np.bool_)
        plane = (y[-1] + 1 - y[0]) * (x[-1] + 1 - x[0]) * max(1.0, 1 / self.ratio)
        step = max(1, int(_TOGETHER // plane))
        for i in range(0, len(z), step):
            some = z[i : i + step]
            begin, end = (some[0], y[0], x[0]), (some[-1] + 1, y[-1] + 1, x[-1] + 1)
            block = matching(_taken(array, begin, end), self.labels)
            if self.ratio != 1:
                block = block[np.ix_(some - some[0], y - y[0], x - x[0])]
            found[i : i + step] = block
        return found

    def _opened(self) -> Any:
        if not isinstance(self.source, str):
            return self.source
        return _opened(self.source, self.at, self.known, state_of(self.source))


@lru_cache(maxsize=2)
def _opened(path: str, at: float | None, known: str | None, state: State) -> Any:
    """Return the array of a file, which is opened anew when its state is another."""
    with unchanged(path, known):
        return open_volume(path, at=at).array


_TURN = threading.Lock()


def _taken(array: Any, low: Any, high: Any) -> Array:
    """Read a block; of an array that is not known here, by one thread at a time."""
    if isinstance(array, np.ndarray | Lazy | Bits):
        return read_block(array, low, high)
    with _TURN:
        return read_block(array, low, high)
