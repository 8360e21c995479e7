"""Frequencies: exact resampling, filter transfer functions, tilt weights.

Resampling and filters work in the cosine basis (DCT-II), which is the Fourier basis
of the image continued by reflection at its faces. Sample j of n and wave k of n meet
in cos(π (j + ½) k / n), a wave of k / (2n) cycles per voxel. Unlike with the plain
Fourier transform, opposite faces do not see each other.

Alignment works in the plain Fourier basis, on the half k_x ≥ 0 of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy
import toolz
from numpy.typing import NDArray

from funpipe.base.arguments import as_array, number, shape_of
from funpipe.base.wording import describe, fail

__all__ = [
    "Tilt",
    "as_tilt",
    "butterworth",
    "check_weights",
    "cosine_waves",
    "dual_axis",
    "filter_image",
    "fourier_vectors",
    "gaussian",
    "half_ball",
    "no_tilt",
    "per_voxel",
    "resample",
    "rescaled_size",
    "single_axis",
]

Array: TypeAlias = NDArray[Any]
Tilt: TypeAlias = Callable[[Array], Array]


# Resampling.


def rescaled_size(size: int, ratio: float) -> int:
    """Return round(size · ratio), at least 1: the voxels of a rescaled box."""
    return max(1, math.floor(size * ratio + 0.5))


def cosine_waves(positions: Array, size: int, count: int) -> NDArray[np.float64]:
    """Return the first ``count`` orthonormal DCT-II waves of a box at positions.

    Parameters
    ----------
    positions : (m,) array
        In voxels of the box, its first voxel's centre at 0.
    size : int
        Voxels of the box along this axis.
    count : int
        How many waves, from the constant one on.

    Returns
    -------
    (m, count) array
        √(2/n) cos(π (x + ½) k / n), and √(1/n) for k = 0.
    """
    k = np.arange(count)
    waves = np.cos(np.pi / size * np.outer(positions + 0.5, k)) * math.sqrt(2 / size)
    waves[:, 0] = math.sqrt(1 / size)
    return waves


def resample(image: Array, scale: float, new_scale: float) -> NDArray[np.float32]:
    """Sample an image anew at another scale, around the same centre.

    The image is read as a sum of cosine waves, those above the new sampling's
    Nyquist frequency are left out, and the sum is evaluated at the new voxels: the
    centre, the scale and the mean density are kept exactly, and nothing aliases.

    Parameters
    ----------
    image : (z, y, x) array
        The image.
    scale, new_scale : float
        Its scale and the one wanted, in nm per voxel.

    Returns
    -------
    (round(z · scale / new_scale), …) array of float32
        The image at the new scale.

    Examples
    --------
    >>> resample(np.ones((4, 5, 6)), 1.0, 0.5).shape
    (8, 10, 12)
    """
    ratio = scale / new_scale
    result: Array = np.asarray(image, dtype=np.float64)
    for axis, size in enumerate(image.shape):
        matrix = _resampling_matrix(size, ratio)
        result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result, dtype=np.float32)


def _resampling_matrix(size: int, ratio: float) -> NDArray[np.float64]:
    new_size = rescaled_size(size, ratio)
    where = (np.arange(new_size) - (new_size - 1) / 2) / ratio + (size - 1) / 2
    # k / 2n below the new Nyquist, and the mean in any case
    waves = max(1, min(size, math.ceil(size * ratio - 1e-9)))
    sampled = cosine_waves(where, size, waves)
    return sampled @ cosine_waves(np.arange(size), size, waves).T


# Filters.


def gaussian(frequency: Array, sigma: float) -> Array:
    """Return exp(−2π²σ²f²), the transfer of a Gaussian of standard deviation σ."""
    return np.exp(-2 * (np.pi * sigma * frequency) ** 2)


def butterworth(frequency: Array, cutoff: float, order: int) -> Array:
    """Return 1 / (1 + (f · cutoff)^(2 · order)): ½ at the period ``cutoff``."""
    with np.errstate(over="ignore"):  # 1 / infinity is the 0 that is meant
        return 1 / (1 + (frequency * cutoff) ** (2 * order))


def filter_image(
    image: Array, scale: float, transfer: Callable[[Array], Array]
) -> NDArray[np.float32]:
    """Multiply an image's cosine waves by a function of their frequency in 1/nm."""
    waves = scipy.fft.dctn(np.asarray(image, dtype=np.float64), norm="ortho")
    axes = [np.arange(n) / (2 * n * scale) for n in image.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    waves *= transfer(np.sqrt(z**2 + y**2 + x**2))
    return scipy.fft.idctn(waves, norm="ortho").astype(np.float32)


# The part of Fourier space that alignment works on.


def fourier_vectors(shape: tuple[int, ...], scale: float) -> NDArray[np.float64]:
    """Return ``scipy.fft.rfftn``'s frequency vectors, (3, z, y, x // 2 + 1), 1/nm."""
    *full, half = shape
    axes = [np.fft.fftfreq(n, scale) for n in full] + [np.fft.rfftfreq(half, scale)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def half_ball(shape: tuple[float, ...], finest: float) -> NDArray[np.int64]:
    """Return the waves of a box inside a resolution limit, one of each mirrored pair.

    Parameters
    ----------
    shape : (float, float, float)
        Voxels of the box, or the periods of waves that do not fit into whole voxels.
    finest : float
        The shortest period, in voxels; waves at Nyquist's frequency are left out,
        and the constant one.

    Returns
    -------
    (N, 3) array of int
        Whole periods per box along z, y, x.

    Examples
    --------
    >>> half_ball((32, 32, 32), 4.0).shape
    (1054, 3)
    """
    reach = [
        min(math.floor(n / finest + 1e-9), max(0, math.ceil(n / 2) - 1)) for n in shape
    ]
    grid = np.stack(
        np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    length = np.sqrt(((grid / np.array(shape)) ** 2).sum(axis=1))
    z, y, x = grid.T
    upper = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return grid[upper & (length <= (1 + 1e-9) / finest)]


# Tilt weights: what a tilt series measures.


def single_axis(
    tilt_range: tuple[float, float] = (-60.0, 60.0), axis: Literal["y", "x"] = "y"
) -> Tilt:
    """Describe a tilt series about one axis.

    Parameters
    ----------
    tilt_range : (float, float)
        Lowest and highest tilt in degrees, between −90 and 90.
    axis : {"y", "x"}
        The tilt axis; the beam is along z at zero tilt.

    Returns
    -------
    callable
        The weight of each frequency vector, (3, ...) in z, y, x order in the
        tomogram's frame, in 1/nm: 1 where the series measures, 0 in the missing wedge.
        Any function of such vectors with weights of 0 or more may take its place. By
        the central-slice theorem a projection at tilt α measures the plane with
        k_z = k_x tan α (about y) or k_z = k_y tan α (about x).

    Raises
    ------
    ValueError, TypeError
        If the range is not two angles in rising order, or the axis another.

    Examples
    --------
    >>> measured = single_axis((-60, 60), "y")
    >>> measured(np.array([[1.0, 1.0], [0.0, 0.0], [0.1, 1.0]]))
    array([0., 1.])
    """
    angles = _tilt_range("tilt_range", tilt_range)
    if not isinstance(axis, str) or axis not in ("y", "x"):
        fail("axis", "'y' or 'x'", axis)
    return _about(axis, angles)


def dual_axis(
    y_range: tuple[float, float] = (-60.0, 60.0),
    x_range: tuple[float, float] = (-60.0, 60.0),
) -> Tilt:
    """Describe two tilt series of one specimen, about y and about x.

    Parameters
    ----------
    y_range, x_range : (float, float)
        Lowest and highest tilt about each axis, in degrees.

    Returns
    -------
    callable
        As of `single_axis`: 1 where either series measures.

    Examples
    --------
    >>> measured = dual_axis((-60, 60), (-45, 45))
    >>> measured(np.array([[1.0, 1.0], [0.0, 1.0], [0.1, 0.0]]))
    array([0., 1.])
    """
    return toolz.curry(
        either_weights,
        first=_about("y", _tilt_range("y_range", y_range)),
        second=_about("x", _tilt_range("x_range", x_range)),
    )


def as_tilt(name: str, tilt: Any) -> Tilt:
    """Return tilt weights from None, a range of angles about y, or such weights.

    Weights are tried with a few vectors first, so that what they get wrong is said
    before work starts.
    """
    if tilt is None:
        return no_tilt
    if callable(tilt):
        for vectors in _probes():
            try:
                weights = tilt(vectors)
            except Exception as error:
                where = f"in {name}, called with vectors of shape {vectors.shape}"
                error.add_note(where)
                raise
            check_weights(weights, vectors.shape[1:], name)
        return tilt
    return _about("y", _tilt_range(name, tilt))


def per_voxel(tilt: Tilt, scale: float) -> Tilt:
    """Return tilt weights that take vectors in periods per voxel, not in 1/nm.

    Parameters
    ----------
    tilt : callable
        Weights of vectors in 1/nm.
    scale : float
        nm per voxel.

    Examples
    --------
    >>> size = per_voxel(np.abs, 0.5)
    >>> size(np.array([0.0, -0.25]))
    array([0. , 0.5])
    """
    return partial(_weights_per_voxel, tilt=tilt, scale=scale)


def _weights_per_voxel(vectors: Array, tilt: Tilt, scale: float) -> Array:
    return tilt(vectors / scale)


def check_weights(
    weights: Any, shape: tuple[int, ...], name: str = "tilt"
) -> NDArray[np.float64]:
    """Return tilt weights as an array, or refuse what are none.

    Parameters
    ----------
    weights : array-like
        What tilt weights gave for vectors (3, ...).
    shape : tuple of int
        The shape of those vectors, its first 3 left out.
    name : str
        The argument's name, for the error.

    Raises
    ------
    TypeError, ValueError
        If their shape is another, or one is negative, NaN or infinite.

    Examples
    --------
    >>> check_weights([1, 0.5], (2,))
    array([1. , 0.5])
    >>> check_weights([1, -0.5], (2,))
    Traceback (most recent call last):
    ...
    ValueError: tilt must give weights of 0 or more, finite, not -0.5
    """
    wanted = "weights: one number for each of the vectors (3, ...)"
    found = as_array(f"{name}(vectors)", wanted, weights)
    if found.shape != shape or found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be {wanted}, not what gives {describe(found)}")
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        first = found[bad].flat[0]
        raise ValueError(f"{name} must give weights of 0 or more, finite, not {first}")
    return found.astype(np.float64, copy=False)


def _probes() -> list[Array]:
    """Return vectors that tilt weights are tried with: of all kinds, and shapes."""
    ways = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3))).T
    lengths = np.array([0.01, 0.1, 0.5]).reshape(3, 1)
    return [np.ones((3, 1)), ways, ways[:, None] * lengths]


def no_tilt(vectors: Array) -> Array:
    """Return 1 for every frequency vector: nothing is missing."""
    return np.ones(vectors.shape[1:])


def _about(axis: str, angles: tuple[float, float]) -> Tilt:
    """Return weights of a tilt series about an axis, between two angles."""
    lowest, highest = angles
    return toolz.curry(
        single_axis_weights,
        lowest=lowest,
        highest=highest,
        across={"y": 2, "x": 1}[axis],
    )


def single_axis_weights(
    vectors: Array, lowest: float, highest: float, across: int
) -> Array:
    """Return 1 where lowest ≤ atan(k_z / k_across) ≤ highest, 0 elsewhere."""
    along_beam, across_axis = vectors[0], vectors[across]
    sides = [
        along_beam * math.cos(math.radians(angle))
        - across_axis * math.sin(math.radians(angle))
        for angle in (lowest, highest)
    ]
    tolerance = 1e-9 * np.square(vectors).max()
    return (sides[0] * sides[1] <= tolerance).astype(float)


def either_weights(vectors: Array, first: Tilt, second: Tilt) -> Array:
    """Return the larger of two weights."""
    return np.maximum(first(vectors), second(vectors))


def _tilt_range(name: str, value: Any) -> tuple[float, float]:
    wanted = "None, two angles (lowest, highest) from −90 to 90, or single_axis(...)"
    if isinstance(value, str | bytes) or shape_of(value) != (2,):
        fail(name, wanted, value)
    try:
        lowest, highest = (number(name, each) for each in value)
    except (TypeError, ValueError):
        fail(name, wanted, value)
    if not -90 <= lowest < highest <= 90:
        fail(name, wanted, value)
    return lowest, highest
