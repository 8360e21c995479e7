"""A template's Fourier transform between the frequencies of its box.

T(q) is evaluated on a grid some times finer than the box's own, by products with
matrices of waves, and interpolated linearly. In real space that multiplies the
template by sinc²(x / L) along each axis, L the period of the fine grid, and adds
copies of it a distance L away, faint ones, since L is some boxes long. The factor is
divided out beforehand (gridding: J. D. O'Sullivan, IEEE Trans. Med. Imaging 4, 200,
1985), the copies are the error.

With the template come its derivatives by small rotations: turned by the rotation
vector ω, t becomes t(x − ω × x), so that ∂t/∂ω_a = −(e_a × x)·∇t.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.fourier import transform
from funpipe.space.geometry import offsets

__all__ = ["Fields", "sample", "template_fields"]

Array: TypeAlias = NDArray[Any]

# How much finer the grid is: the first with which the fields fit into so many bytes.
_FINENESS = ((8, 16e6), (6, 16e6), (4, 100e6), (3, 100e6), (2, math.inf))


class Fields(NamedTuple):
    """A template and its derivatives by rotation, on a fine grid of frequencies."""

    values: NDArray[np.float32]
    """(grid points, 8): real and imaginary parts of T, ∂T/∂ω_z, ∂T/∂ω_y, ∂T/∂ω_x."""
    reach: tuple[int, int, int]
    """Points of the grid on either side of frequency 0, along z, y, x."""
    fineness: tuple[int, int, int]
    """Points of the grid per period per voxel."""


def template_fields(template: Array, finest: float) -> Fields:
    """Return a template's fields up to a frequency, in periods per voxel."""
    images = np.stack([template, *_turning_rates(template)])
    times = next(
        times
        for times, room in _FINENESS
        if _field_bytes(template.shape, finest, times) <= room
    )
    fineness = tuple(times * n for n in template.shape)
    for axis, (n, period) in enumerate(zip(template.shape, fineness, strict=True)):
        window = np.sinc((np.arange(n) - (n - 1) / 2) / period) ** 2
        images = images / np.expand_dims(window, [i for i in range(4) if i != axis + 1])
    reach = tuple(math.ceil(finest * period) + 1 for period in fineness)
    frequencies = [
        np.arange(-m, m + 1) / period for m, period in zip(reach, fineness, strict=True)
    ]
    spectra = transform(images, frequencies)
    values = np.ascontiguousarray(np.moveaxis(spectra, 0, -1)).view(np.float32)
    return Fields(values.reshape(-1, 8), reach, fineness)


def sample(points: Array, fields: Fields, count: int = 4) -> NDArray[np.complex64]:
    """Return the first ``count`` fields at frequencies.

    Parameters
    ----------
    points : (N, 3) array
        Frequencies in periods per voxel, z, y, x.
    fields : Fields
        The template.
    count : int
        1 for the template alone, 4 with its derivatives.

    Returns
    -------
    (N, count) array of complex64
        The values, interpolated linearly. Beyond the grid they mean nothing, but
        nothing outside it is read, whatever the points.
    """
    size = [2 * m + 1 for m in fields.reach]
    strides = (size[1] * size[2], size[2], 1)
    first = np.zeros(len(points), np.int32)
    parts = []
    for axis, stride in enumerate(strides):
        where = points[:, axis] * fields.fineness[axis] + fields.reach[axis]
        with np.errstate(invalid="ignore"):  # NaN is no index, and comes out as NaN
            corner = where.astype(np.int32)  # truncation is floor: none is negative
        np.clip(corner, 0, 2 * fields.reach[axis] - 1, out=corner)
        first += corner * np.int32(stride)
        part = (where - corner).astype(np.float32)
        parts.append((1 - part, part))
    corners = list(itertools.product((0, 1), repeat=3))
    steps = np.array([np.dot(each, strides) for each in corners], np.int32)
    weights = np.empty((len(points), 8), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # of points beyond the grid
        for i, (z, y) in enumerate(itertools.product(parts[0], parts[1])):
            face = z * y
            for j, x in enumerate(parts[2]):
                np.multiply(face, x, out=weights[:, 2 * i + j])
    matrix = scipy.sparse.csr_array(
        (
            weights.reshape(-1),
            (first[:, None] + steps).reshape(-1),
            np.arange(0, weights.size + 1, 8, dtype=np.int32),
        ),
        shape=(len(points), len(fields.values)),
    )
    return (matrix @ fields.values[:, : 2 * count]).view(np.complex64)


def _field_bytes(shape: tuple[int, ...], finest: float, times: int) -> float:
    return 32 * math.prod(2 * math.ceil(finest * times * n) + 3 for n in shape)


def _turning_rates(template: Array) -> list[Array]:
    """Return −(e_a × x)·∇t for the axes z, y, x."""
    waves = [
        2j * np.pi * np.fft.fftfreq(n) * (np.abs(np.fft.fftfreq(n)) < 0.5)
        for n in template.shape
    ]
    spectrum = scipy.fft.fftn(template)
    gz, gy, gx = (
        scipy.fft.ifftn(spectrum * wave).real
        for wave in np.meshgrid(*waves, indexing="ij", sparse=True)
    )
    z, y, x = offsets(template.shape)
    return [x * gy - y * gx, z * gx - x * gz, y * gz - z * gy]
