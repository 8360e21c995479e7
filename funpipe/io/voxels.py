"""What a volume in a file is: an array, maybe still on disk, and its scale."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import optional_positive
from funpipe.base.errors import FileError, MissingError

__all__ = [
    "LARGEST",
    "Box",
    "Lazy",
    "Volume",
    "check_claim",
    "isotropic",
    "nm_per",
    "no_volume",
    "read_block",
]

LARGEST = 2**33
"""Bytes of the largest volume that is unpacked into memory."""
_UNSUSPICIOUS = 2**26  # bytes that any file may unpack to
_RATIO = 2**14  # more than packing gains even where nearly all voxels are alike

_NM_PER_UNIT = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "µm": 1e3,
    "um": 1e3,
    "\\u00B5m": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "Å": 0.1,
    "A": 0.1,
    "angstrom": 0.1,
    "\\u00C5": 0.1,
    "mm": 1e6,
    "millimeter": 1e6,
    "cm": 1e7,
    "inch": 2.54e7,
}


class Volume(NamedTuple):
    """A 3-D array in z, y, x order, maybe still on disk, and its scale."""

    array: Any
    """A NumPy array, or what has ``shape``, ``dtype`` and slicing, such as `Lazy`."""
    scale: float | None
    """nm per voxel; None where the file does not say."""
    trouble: str | None = None
    """Why the file's own scale is no use."""
    source: str | None = None
    """The source text of the pipeline that made it, where `write_volume` put one."""

    def scale_or(self, scale: float | None, path: str) -> float:
        """Return the scale given, or the file's own, or say what to pass."""
        if scale is not None:
            return scale
        if self.scale is None:
            raise MissingError(path, str(self.trouble), "scale", "in nm per voxel")
        return self.scale


Box: TypeAlias = tuple[slice, slice, slice]
"""From where to where along z, y, x; nothing negative, no steps."""


@dataclass(frozen=True)
class Lazy:
    """A 3-D array in a file, that is read only where it is sliced.

    Examples
    --------
    >>> image = np.arange(24.0).reshape(2, 3, 4)
    >>> lazy = Lazy(image.shape, image.dtype, image.__getitem__)
    >>> lazy[1, ::-1, 0]
    array([20., 16., 12.])
    >>> np.asarray(lazy).sum()
    np.float64(276.0)
    """

    shape: tuple[int, int, int]
    """Voxels along z, y, x."""
    dtype: np.dtype[Any]
    """Of what is read."""
    read: Callable[[Box], NDArray[Any]] = field(repr=False)
    """What reads a box, as a new array."""

    @property
    def ndim(self) -> int:
        """Return 3."""
        return 3

    def __getitem__(self, index: Any) -> Any:
        box, rest = _box_of(self.shape, index)
        extent = tuple(each.stop - each.start for each in box)
        if 0 in extent:
            return np.empty(extent, self.dtype)[rest]
        return _whole(self.read(box), box)[rest]

    def __setitem__(self, index: Any, value: Any) -> None:
        raise ValueError("a volume in a file is read-only")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self[...], dtype=dtype)


def read_block(array: Any, low: Any, high: Any) -> NDArray[Any]:
    """Return a copy of a block of an array-like, where it is whole, in C order.

    Parameters
    ----------
    array : array-like
        3-D, with slicing.
    low, high : (int, int, int)
        The first voxel, and the one after the last, z, y, x.

    Raises
    ------
    ValueError
        If the block is of another shape, if some of it is masked, or if the array is
        mapped from a file that was cut short: to touch it would end the process.

    Examples
    --------
    >>> read_block(np.arange(24).reshape(2, 3, 4), (0, 1, 2), (2, 2, 4)).tolist()
    [[[6, 7]], [[18, 19]]]
    """
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    _check_mapped(array)
    found = array[z, y, x]
    if np.ma.is_masked(found):
        raise ValueError(
            "the volume has masked voxels; fill them, as in array.filled(0)"
        )
    # However the array itself lies: sums over a block must be the same.
    block = found if isinstance(array, Lazy) else np.array(found, order="C")
    return _whole(np.ascontiguousarray(block), (z, y, x))


def _whole(block: NDArray[Any], box: Box) -> NDArray[Any]:
    extent = tuple(each.stop - each.start for each in box)
    if block.shape != extent:
        raise ValueError(
            f"a block of the volume must be of shape {extent}, not {block.shape}"
        )
    return block


def _check_mapped(array: Any) -> None:
    """Refuse an array of `np.memmap` whose file is shorter than it was."""
    mapped = getattr(array, "_mmap", None)
    if isinstance(array, np.memmap) and isinstance(mapped, mmap.mmap):
        end = array.offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        end += len(mapped)
        size = mapped.size()
        if size < end:
            raise ValueError(
                f"{array.filename or 'the mapped file'} has changed since it was "
                f"opened: it had {end} bytes, and has {size}"
            )


def check_claim(name: str, claimed: int, size: int, most: int | None = LARGEST) -> None:
    """Refuse a file that says of itself that it holds absurdly much.

    Parameters
    ----------
    name : str
        The file.
    claimed : int
        Bytes that it would unpack to.
    size : int
        Bytes that it has.
    most : int or None
        Bytes that are unpacked at the most; None where they are read in parts.

    Examples
    --------
    >>> check_claim("a.tif", 2**40, 1000)
    Traceback (most recent call last):
    ...
    ValueError: a.tif says that it holds 1099511627776 bytes, packed into 1000: more
    than the 67108864 that such a file is unpacked to
    """
    bound = max(_UNSUSPICIOUS, _RATIO * size)
    bound = bound if most is None else min(most, bound)
    if claimed > bound:
        raise ValueError(
            f"{name} says that it holds {claimed} bytes, packed into {size}: more than "
            f"the {bound} that such a file is unpacked to"
        )


def no_volume(name: str, shape: tuple[int, ...], dtype: Any) -> NoReturn:
    """Raise the error of a file that holds something else."""
    raise FileError(
        name,
        f" must hold a 3-D volume of real numbers, not an array of shape "
        f"{tuple(map(int, shape))} and type {np.dtype(dtype)}",
    )


def _box_of(shape: tuple[int, ...], index: Any) -> tuple[Box, Any]:
    """Return the box that an index needs, and the index into that box.

    Whole numbers, slices and an ellipsis need what they say; anything else, such as
    an array of numbers, needs all.
    """
    index = index if isinstance(index, tuple) else (index,)
    dots = [i for i, each in enumerate(index) if each is Ellipsis]
    simple = all(
        each is Ellipsis or isinstance(each, slice) or _is_whole(each) for each in index
    )
    if not simple or len(dots) > 1 or len(index) - len(dots) > len(shape):
        z, y, x = (slice(0, n) for n in shape)
        return (z, y, x), index
    at = dots[0] if dots else len(index)
    missing = (slice(None),) * (len(shape) - len(index) + len(dots))
    full = index[:at] + missing + index[at + 1 :]
    found = [_along(axis, each, shape[axis]) for axis, each in enumerate(full)]
    z, y, x = (box for box, _ in found)
    return (z, y, x), tuple(rest for _, rest in found)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _along(axis: int, each: Any, n: int) -> tuple[slice, Any]:
    if not isinstance(each, slice):
        if not -n <= each < n:
            raise IndexError(
                f"index {each} is out of bounds for axis {axis} with size {n}"
            )
        return slice(int(each) % n, int(each) % n + 1), 0
    chosen = range(n)[each]
    if not chosen:
        return slice(0, 0), slice(None)
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return slice(low, high + 1), slice(None, None, chosen.step)


def nm_per(unit: str) -> float:
    """Return a unit's length in nm; 0 for one that is unknown."""
    return _NM_PER_UNIT.get(unit, _NM_PER_UNIT.get(unit.lower(), 0.0))


def isotropic(
    size: list[float], where: str = "the header"
) -> tuple[float | None, str | None]:
    """Return the one voxel size in nm of three, or None and why there is none."""
    if not all(math.isfinite(each) and each > 0 for each in size):
        return None, f"{where} gives no voxel size"
    if max(size) - min(size) > 1e-3 * max(size):
        z, y, x = (f"{10 * each:.4g}" for each in size)
        return None, f"the voxel is anisotropic, {z} x {y} x {x} Å (z, y, x)"
    return optional_positive("scale", sum(size) / 3), None
