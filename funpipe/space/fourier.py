"""Frequencies: exact resampling and the transfer functions of filters.

Resampling and filters work in the cosine basis (DCT-II), which is the Fourier basis
of the image continued by reflection at its faces. Sample j of n and wave k of n meet
in cos(π (j + ½) k / n), a wave of k / (2n) cycles per voxel. Unlike with the plain
Fourier transform, opposite faces do not see each other.

Alignment works in the plain Fourier basis, on the half k_x ≥ 0 of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = [
    "butterworth",
    "cosine_waves",
    "filter_image",
    "fourier_vectors",
    "gaussian",
    "half_ball",
    "resample",
    "rescaled_size",
]

Array: TypeAlias = NDArray[Any]


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


def resample(
    image: Array,
    scale: float,
    new_scale: float,
    shape: tuple[int, ...] | None = None,
) -> NDArray[np.float32]:
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
    shape : (int, int, int), optional
        Voxels wanted, none beyond the image; by default as many as hold it.

    Returns
    -------
    (round(z · scale / new_scale), …) array of float32, or of that shape
        The image at the new scale.

    Examples
    --------
    >>> resample(np.ones((4, 5, 6)), 1.0, 0.5).shape
    (8, 10, 12)
    """
    ratio = scale / new_scale
    result: Array = np.asarray(image, dtype=np.float64)
    for axis, size in enumerate(image.shape):
        new_size = rescaled_size(size, ratio) if shape is None else shape[axis]
        matrix = _resampling_matrix(size, ratio, new_size)
        result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result, dtype=np.float32)


def _resampling_matrix(size: int, ratio: float, new_size: int) -> NDArray[np.float64]:
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
