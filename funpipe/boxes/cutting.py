"""Cutting subtomograms: boxes sampled from a tomogram in each particle's own frame.

Box voxel p of a particle at x with rotation R holds the tomogram at
x + R @ (p − c) · scale, where c = (n − 1) / 2 is the centre of the box. Only the
block of the tomogram that this needs is read, so that a tomogram on disk may be
larger than memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.caller import warn
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import describe
from funpipe.io.volumes import open_volume
from funpipe.io.voxels import read_block
from funpipe.space.fourier import Tilt, no_tilt
from funpipe.space.geometry import centre, turned_grid
from funpipe.space.precision import levelled_values

__all__ = ["Source", "Tomogram", "open_tomogram", "subtomograms"]

# The spline's prefilter forgets by 0.27 a voxel: at 12 voxels from the edge of a
# block the coefficients are those of the whole tomogram to 1e-7.
_MARGIN = 12
_PART = 32  # particles
_LARGEST_BLOCK = 2**25  # voxels of a block that neighbours share
_FAINT = 1e-4  # of a block's spread: more than splines leave of it in a flat box


class Tomogram(NamedTuple):
    """A tomogram with what is its own: one of many that are aligned together.

    Examples
    --------
    >>> Tomogram("TS_01.mrc", tilt=(-60, 54))
    Tomogram(array='TS_01.mrc', scale=None, tilt=(-60, 54))
    """

    array: Any
    """Array-like with axes z, y, x, or path."""
    scale: float | None = None
    """nm per voxel, over what is said of all; None: that, or else the file's."""
    tilt: Any = None
    """What its tilt series measured, see `align`; likewise."""


class Source(NamedTuple):
    """A tomogram that has been opened, and which of the particles lie in it."""

    array: Any
    """Has ``shape``, ``dtype`` and slicing; axes z, y, x. Or a path, of one of many,
    which is opened anew when it is cut."""
    scale: float
    """nm per voxel."""
    shape: tuple[int, ...]
    """Voxels along z, y, x."""
    stated: float | None = None
    """The scale in its file's header, where it has one."""
    tilt: Tilt = no_tilt
    """What its tilt series measured."""
    indices: NDArray[np.intp] = np.arange(0)
    """The particles."""
    name: str | None = None
    """Of the tomogram; None where there is but one."""

    def opened(self) -> Source:
        """Return it with its array open."""
        if not isinstance(self.array, str | os.PathLike):
            return self
        return self._replace(array=open_tomogram(self.array, self.scale).array)


def open_tomogram(tomogram: Any, scale: float | None = None) -> Source:
    """Return a tomogram and its scale, nothing of it read yet.

    Parameters
    ----------
    tomogram : array-like, path, or Tomogram
        3-D, or a file that `funpipe.io.volumes.open_volume` opens.
    scale : float, optional
        nm per voxel; by default what the file's header says. A `Tomogram`'s own wins.
        Of an OME-Zarr image the level of that scale is opened.

    Raises
    ------
    TypeError, ValueError
        If it is not 3-D and numeric, or the scale is neither given nor known.
    """
    if scale is not None:
        scale = check.positive("scale", scale)
    if isinstance(tomogram, Tomogram):
        return open_tomogram(tomogram.array, own_scale(tomogram, scale))
    if isinstance(tomogram, str | os.PathLike):
        path = check.path("tomogram", tomogram)
        volume = open_volume(path, at=scale)
        scale = volume.scale_or(scale, path)
        shape = tuple(map(int, volume.array.shape))
        return Source(volume.array, scale, shape, volume.scale)
    if not _is_volume(tomogram):
        wanted = "a path or a 3-D array of real numbers"
        raise TypeError(f"tomogram must be {wanted}, not {describe(tomogram)}")
    if check.is_masked(tomogram):
        raise ValueError(
            "tomogram must have no masked values: fill them, as with array.filled(0)"
        )
    if scale is None:
        text = " must be given, in nm per voxel: an array has none"
        raise WrongValueError(Argument("scale"), text, name="scale")
    return Source(tomogram, scale, tuple(map(int, tomogram.shape)))


def own_scale(tomogram: Any, scale: float | None) -> float | None:
    """Return the scale that a tomogram has of its own, or else that of all; checked."""
    if isinstance(tomogram, Tomogram) and tomogram.scale is not None:
        return check.positive("scale of a Tomogram", tomogram.scale)
    return scale


def _is_volume(value: Any) -> bool:
    """Tell whether something has a shape of three, a type of numbers, and slices."""
    try:
        shape, kind = tuple(map(int, value.shape)), np.dtype(value.dtype).kind
    except Exception:  # of another library's, or of no array
        return False
    return (
        len(shape) == 3
        and min(shape) > 0
        and kind in "biuf"
        and hasattr(value, "__getitem__")
    )


def subtomograms(
    tomogram: Any, molecules: Any, *, shape: Any, scale: float | None = None
) -> NDArray[np.float32]:
    """Cut subtomograms, each in its particle's own frame, by cubic splines.

    Parameters
    ----------
    tomogram : array-like, path, or Tomogram
        Axes z, y, x; of a file only the blocks that are needed are read.
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
    box = check.box("shape", check.shape("shape", shape))
    check_some(particles)
    indices = np.arange(len(particles))
    check_inside(source, particles, box, indices)
    leaving = count_leaving(source, particles, box)
    warn_of_leaving(leaving, len(particles))
    return np.concatenate(
        [cut(source, particles, box, each) for each in parts(indices)]
    )


def parts(indices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut a list of particles into parts that are worked on together."""
    return np.array_split(indices, max(1, math.ceil(len(indices) / _PART)))


def cut(
    source: Source,
    all_molecules: Molecules,
    box: tuple[int, int, int],
    indices: NDArray[np.intp],
    *,
    levelled: bool = False,
) -> NDArray[np.float32]:
    """Cut the boxes of some of the molecules, (n, z, y, x).

    Neighbours share a block that is read and filtered once, and boxes are
    interpolated by as many threads as there are processors. ``levelled`` boxes are
    each of a level and a scale of their own, so that single precision holds them
    whatever those of the tomogram are.
    """
    molecules = all_molecules[indices]
    boxes = np.empty((len(molecules), *box), np.float32)
    middle = _in_voxels(source, molecules)
    turns = molecules.rotations.as_matrix()
    start, stop = _extents(source, molecules, box, 0)

    with ThreadPoolExecutor(check.processors()) as threads:
        for group, low, block in _blocks(source, molecules, box, indices):
            values, level, unit, spread = levelled_values(block)
            _check_held(level, unit * spread, levelled)
            coefficients = scipy.ndimage.spline_filter(
                values, order=3, mode="mirror", output=values
            )
            corner = middle - turns @ centre(box) - low
            list(
                threads.map(
                    partial(_interpolate, coefficients),
                    turns[group],
                    corner[group],
                    [boxes[i] for i in group],
                )
            )
            for each in group:
                around = tuple(map(slice, start[each] - low, stop[each] - low))
                if np.ptp(boxes[each]) <= _FAINT * spread and not np.ptp(block[around]):
                    boxes[each] = boxes[each].mean(dtype=np.float64)
                if not levelled and (level, unit) != (0.0, 1.0):
                    boxes[each] = boxes[each].astype(np.float64) * unit + level
    for i in np.flatnonzero(_leaving(source, molecules, box)):
        inside = _inside(source, molecules, int(i), box)
        boxes[i][~inside] = boxes[i][inside].mean(dtype=np.float64)
    return boxes


def _check_held(level: float, spread: float, levelled: bool) -> None:
    """Refuse a block that boxes of single precision cannot hold at its own scale."""
    largest = abs(level) + spread
    if not levelled and largest > np.finfo(np.float32).max:
        raise ValueError(
            "tomogram must have values that single precision holds, up to 3e38, not "
            f"{largest:.3g}"
        )


def _interpolate(
    coefficients: NDArray[np.float32],
    turn: NDArray[np.float64],
    corner: NDArray[np.float64],
    image: NDArray[np.float32],
) -> None:
    """Fill an image from spline coefficients, its first voxel at a corner."""
    scipy.ndimage.affine_transform(
        coefficients,
        turn,
        corner,
        output_shape=image.shape,
        output=image,
        order=3,
        mode="mirror",
        prefilter=False,
    )


def warn_of_leaving(leaving: int, count: int) -> None:
    """Warn, once for all of them, of boxes that leave the tomogram."""
    if leaving:
        warn(
            f"{leaving} of {count} boxes leave the tomogram; what lies "
            "outside is filled with the mean of the rest of the box"
        )


def count_leaving(
    source: Source,
    molecules: Molecules,
    box: tuple[int, int, int],
    radius: float = math.inf,
) -> int:
    """Return how many boxes leave the tomogram within a radius of their centres."""
    return int(_leaving(source, molecules, box, radius).sum())


def wholly_outside(
    source: Source, molecules: Molecules, box: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Tell which molecules' boxes lie wholly outside the tomogram."""
    reach = _half_extent(molecules, box)
    middle = _in_voxels(source, molecules)
    size = np.array(source.shape)
    out = ((middle + reach < -0.5) | (middle - reach > size - 0.5)).any(axis=1)
    for i in np.flatnonzero(~out & _leaving(source, molecules, box)):
        out[i] = not _inside(source, molecules, int(i), box).any()
    return np.asarray(out)


def check_some(molecules: Molecules) -> None:
    """Refuse an empty set."""
    if len(molecules) == 0:
        raise ValueError("molecules must be one particle or more, not none")


def check_inside(
    source: Source,
    all_molecules: Molecules,
    box: tuple[int, int, int],
    indices: NDArray[np.intp],
) -> None:
    """Refuse boxes of some molecules that lie wholly outside the tomogram."""
    for i in indices[wholly_outside(source, all_molecules[indices], box)]:
        _refuse_outside(source, all_molecules, int(i))


def _refuse_outside(source: Source, molecules: Molecules, i: int) -> NoReturn:
    z, y, x = molecules.positions[i]
    nz, ny, nx = (np.array(source.shape) - 1) * source.scale
    raise ValueError(
        f"molecules[{i}] at ({z:.6g}, {y:.6g}, {x:.6g}) nm lies wholly outside "
        f"the tomogram, which spans 0 to ({nz:.6g}, {ny:.6g}, {nx:.6g}) nm"
    )


def _in_voxels(source: Source, molecules: Molecules) -> NDArray[np.float64]:
    """Return where molecules are, (n, 3); beyond all floats is infinity."""
    with np.errstate(over="ignore"):
        return molecules.positions / source.scale


def _half_extent(molecules: Molecules, box: tuple[int, int, int]) -> NDArray[Any]:
    """Return how far the turned boxes reach along z, y, x, in voxels, (n, 3)."""
    return np.abs(molecules.rotations.as_matrix()) @ centre(box)


def _leaving(
    source: Source,
    molecules: Molecules,
    box: tuple[int, int, int],
    radius: float = math.inf,
) -> NDArray[np.bool_]:
    """Return which boxes leave the tomogram: its voxels reach half a voxel out."""
    reach = np.minimum(_half_extent(molecules, box), radius)
    middle = _in_voxels(source, molecules)
    limits = np.array(source.shape) - 0.5
    out = (middle - reach < -0.5) | (middle + reach > limits)
    return np.asarray(out.any(axis=1))


def _inside(
    source: Source, molecules: Molecules, i: int, box: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return which voxels of a box lie in the tomogram."""
    where = turned_grid(box, molecules.rotations[i])
    where += (molecules.positions[i] / source.scale).reshape(3, 1, 1, 1)
    limits = np.array(source.shape).reshape(3, 1, 1, 1) - 0.5
    return np.asarray(((where >= -0.5) & (where <= limits)).all(axis=0))


def _blocks(
    source: Source,
    molecules: Molecules,
    box: tuple[int, int, int],
    indices: NDArray[np.intp],
) -> Iterator[tuple[list[int], NDArray[np.intp], NDArray[Any]]]:
    """Yield groups of molecules, their block's first voxel, and the block.

    The indices are the molecules' numbers in an error.
    """
    start, stop = _extents(source, molecules, box, _MARGIN)
    for group in _neighbours(start, stop):
        low, high = start[group].min(axis=0), stop[group].max(axis=0)
        block = np.asarray(read_block(source.array, low, high))
        if not np.isfinite(block).all():
            bad = np.argwhere(~np.isfinite(block)) + low
            for i in group:
                if ((bad >= start[i]) & (bad < stop[i])).all(axis=1).any():
                    raise ValueError(
                        "tomogram must be finite, but has NaN or infinity near "
                        f"molecules[{indices[i]}] at "
                        f"{molecules.positions[i].round(3).tolist()} nm"
                    )
        yield group, low, block


def _extents(
    source: Source, molecules: Molecules, box: tuple[int, int, int], margin: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first voxels around the boxes, with a margin, and those after them."""
    middle = _in_voxels(source, molecules)
    reach = _half_extent(molecules, box)
    size = np.array(source.shape)
    start = np.clip(np.floor(middle - reach).astype(int) - margin, 0, size - 1)
    stop = np.clip(np.ceil(middle + reach).astype(int) + margin + 1, 1, size)
    return start, stop


def _neighbours(start: NDArray[np.intp], stop: NDArray[np.intp]) -> list[list[int]]:
    """Group blocks that together are no larger than one by one."""
    groups: list[list[int]] = []
    bounds: list[tuple[NDArray[np.intp], NDArray[np.intp], int]] = []
    for i in np.lexsort((start // 32).T[::-1]):
        volume = int(np.prod(stop[i] - start[i]))
        for g in range(len(groups) - 1, max(-1, len(groups) - 9), -1):
            low = np.minimum(bounds[g][0], start[i])
            high = np.maximum(bounds[g][1], stop[i])
            together = int(np.prod(high - low))
            if together <= min(bounds[g][2] + volume, _LARGEST_BLOCK):
                groups[g].append(int(i))
                bounds[g] = (low, high, bounds[g][2] + volume)
                break
        else:
            groups.append([int(i)])
            bounds.append((start[i], stop[i], volume))
    return groups
