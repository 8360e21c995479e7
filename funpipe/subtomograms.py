"""Cutting subtomograms: boxes sampled from a tomogram in each particle's own frame.

Box voxel p of a particle at x with rotation R holds the tomogram at
x + R @ (p − c) · scale, where c = (n − 1) / 2 is the centre of the box. Only the
block of the tomogram that this needs is read, so that a tomogram on disk may be
larger than memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe import arguments as check
from funpipe.arguments import describe
from funpipe.geometry import centre, turned_grid
from funpipe.io.volumes import open_volume
from funpipe.molecules import Molecules, as_molecules

__all__ = ["Tomogram", "open_tomogram", "subtomograms"]

# The spline's prefilter forgets by 0.27 a voxel: at 12 voxels from the edge of a
# block the coefficients are those of the whole tomogram to 1e-7.
_MARGIN = 12


class Tomogram(NamedTuple):
    """A tomogram, maybe on disk, and its scale."""

    array: Any
    """Has ``shape``, ``dtype`` and slicing; axes z, y, x."""
    scale: float
    """nm per voxel."""


def open_tomogram(tomogram: Any, scale: float | None = None) -> Tomogram:
    """Return a tomogram and its scale, nothing of it read yet.

    Parameters
    ----------
    tomogram : array-like, or path
        3-D, or a file that `funpipe.io.volumes.open_volume` opens.
    scale : float, optional
        nm per voxel; by default what the file's header says.

    Raises
    ------
    TypeError, ValueError
        If it is not 3-D and numeric, or the scale is neither given nor known.
    """
    if scale is not None:
        scale = check.positive("scale", scale)
    if isinstance(tomogram, Tomogram):
        return tomogram._replace(scale=scale or tomogram.scale)
    if isinstance(tomogram, str | os.PathLike):
        volume = open_volume(tomogram)
        return Tomogram(volume.array, volume.scale_or(scale, os.fspath(tomogram)))
    shape, dtype = getattr(tomogram, "shape", ()), getattr(tomogram, "dtype", None)
    if len(shape) != 3 or 0 in shape or np.dtype(dtype or "O").kind not in "biuf":
        wanted = "a path or a 3-D array of real numbers"
        raise TypeError(f"tomogram must be {wanted}, not {describe(tomogram)}")
    if scale is None:
        raise ValueError("scale must be given, in nm per voxel: an array has none")
    return Tomogram(tomogram, scale)


def subtomograms(
    tomogram: Any, molecules: Any, *, shape: Any, scale: float | None = None
) -> NDArray[np.float32]:
    """Cut subtomograms, each in its particle's own frame, by cubic splines.

    Parameters
    ----------
    tomogram : array-like, or path
        The tomogram, axes z, y, x; see `open_tomogram`.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        Where the particles are, in nm, and how they are turned.
    shape : int or (int, int, int)
        Voxels of a box along z, y, x.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says.

    Returns
    -------
    (n, z, y, x) array of float32
        The boxes.

    Raises
    ------
    ValueError
        If there are no particles, one's box lies wholly outside the tomogram, or
        the tomogram has NaN or infinity where a box needs it.

    Warns
    -----
    UserWarning
        If boxes leave the tomogram; their voxels out there are the mean of those
        inside.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> boxes = subtomograms(tomogram, np.array([[5.0, 5.0, 5.0]]), shape=3, scale=1.0)
    >>> boxes[0, 1, 1].round(3)
    array([554., 555., 556.], dtype=float32)
    """
    source = open_tomogram(tomogram, scale)
    particles = as_molecules("molecules", molecules)
    box = check.shape("shape", shape)
    check_molecules(source, particles, box)
    boxes, leaving = cut(source, particles, box, range(len(particles)))
    warn_of_leaving(leaving, len(particles), stacklevel=3)
    return boxes


def cut(
    source: Tomogram,
    molecules: Molecules,
    box: tuple[int, int, int],
    indices: Sequence[int] | NDArray[np.intp],
) -> tuple[NDArray[np.float32], int]:
    """Cut some of the molecules' boxes; count those that leave the tomogram."""
    boxes = np.empty((len(indices), *box), np.float32)
    leaving = 0
    for place, i in enumerate(indices):
        boxes[place], leaves = _cut(source, molecules, int(i), box)
        leaving += leaves
    return boxes, leaving


def warn_of_leaving(leaving: int, count: int, stacklevel: int) -> None:
    """Warn, once for all of them, of boxes that leave the tomogram."""
    if leaving:
        warnings.warn(
            f"{leaving} of {count} boxes leave the tomogram; what lies "
            "outside is filled with the mean of the rest of the box",
            stacklevel=stacklevel,
        )


def check_molecules(
    source: Tomogram, molecules: Molecules, box: tuple[int, int, int]
) -> None:
    """Refuse an empty set, and boxes that lie wholly outside the tomogram."""
    if len(molecules) == 0:
        raise ValueError("molecules must be one particle or more, not none")
    reach = _half_extent(molecules, box)
    middle = molecules.positions / source.scale
    size = np.array(source.array.shape)
    outside = ((middle + reach < -0.5) | (middle - reach > size - 0.5)).any(axis=1)
    if outside.any():
        _refuse_outside(source, molecules, int(np.argmax(outside)))


def _refuse_outside(source: Tomogram, molecules: Molecules, i: int) -> NoReturn:
    z, y, x = molecules.positions[i]
    nz, ny, nx = (np.array(source.array.shape) - 1) * source.scale
    raise ValueError(
        f"molecules[{i}] at ({z:.6g}, {y:.6g}, {x:.6g}) nm lies wholly outside "
        f"the tomogram, which spans 0 to ({nz:.6g}, {ny:.6g}, {nx:.6g}) nm"
    )


def _half_extent(molecules: Molecules, box: tuple[int, int, int]) -> NDArray[Any]:
    """Return how far the turned boxes reach along z, y, x, in voxels, (n, 3)."""
    return np.abs(molecules.rotations.as_matrix()) @ centre(box)


def _cut(
    source: Tomogram, molecules: Molecules, i: int, box: tuple[int, int, int]
) -> tuple[NDArray[np.float32], bool]:
    middle = molecules.positions[i] / source.scale
    where = turned_grid(box, molecules.rotations[i]) + middle.reshape(3, 1, 1, 1)
    size = np.array(source.array.shape)
    reach = np.abs(molecules.rotations[i].as_matrix()) @ centre(box)
    start = np.clip(np.floor(middle - reach).astype(int) - _MARGIN, 0, size - 1)
    stop = np.clip(np.ceil(middle + reach).astype(int) + _MARGIN + 1, 1, size)
    block = np.asarray(source.array[tuple(map(slice, start, stop))], dtype=np.float32)
    if not np.isfinite(block).all():
        raise ValueError(
            f"tomogram must be finite, but has NaN or infinity near molecules[{i}] at "
            f"{molecules.positions[i].round(3).tolist()} nm"
        )
    image = scipy.ndimage.map_coordinates(
        block, where - start.reshape(3, 1, 1, 1), order=3, mode="mirror"
    )
    limits = size.reshape(3, 1, 1, 1) - 0.5
    inside = ((where >= -0.5) & (where <= limits)).all(axis=0)
    if inside.all():
        return image, False
    if not inside.any():
        _refuse_outside(source, molecules, i)
    image[~inside] = image[inside].mean()
    return image, True
