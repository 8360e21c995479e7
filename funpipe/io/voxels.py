"""What a volume in a file is: an array, maybe still on disk, and its scale."""

from __future__ import annotations

import math
import mmap
from typing import Any, NamedTuple

import numpy as np

from funpipe.arguments import MissingError, optional_positive

__all__ = ["Lazy", "Volume", "isotropic", "nm_per"]

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
    """A NumPy array, or what has ``shape``, ``dtype`` and slicing."""
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


class Lazy:
    """A 3-D view of an array-like that is read only where it is sliced.

    Parameters
    ----------
    array : array-like
        With ``shape``, ``dtype`` and slicing; axes before the last three have one
        element each.
    factor, offset : float
        What is read is multiplied by the one, and the other added.
    """

    def __init__(self, array: Any, factor: float = 1.0, offset: float = 0.0) -> None:
        self._array, self._factor, self._offset = array, factor, offset
        self._plain = factor == 1.0 and offset == 0.0
        self.shape = tuple(array.shape[-3:])
        self.dtype = np.dtype(array.dtype if self._plain else np.float32)
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> Any:
        before = (0,) * (len(self._array.shape) - 3)
        index = index if isinstance(index, tuple) else (index,)
        block = np.asarray(self._array[(*before, *index)])
        mapped = getattr(self._array, "_mmap", None)
        if mapped is not None:
            block = block.copy()
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)  # or all that was read stays ours
        if self._plain:
            return block
        return block.astype(np.float32) * self._factor + self._offset

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self[...], dtype=dtype)


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
