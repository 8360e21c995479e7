"""A template's Fourier transform between the frequencies of its box.

T(q) is evaluated on a fine grid and gathered from it, see `funpipe.space.spectra`.

With the template come its derivatives by small rotations: turned by the rotation
vector ω, t becomes t(x − ω × x), so that ∂t/∂ω_a = −(e_a × x)·∇t.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.fourier import transform
from funpipe.space.geometry import offsets
from funpipe.space.spectra import FineGrid, fine_grid, gather_matrix, roll_off

__all__ = ["Fields", "sample", "template_fields", "turning_rates"]

Array: TypeAlias = NDArray[Any]

# How much finer the grid is: the first with which the fields fit into so many bytes.
_FINENESS = ((8, 16e6), (6, 16e6), (4, 100e6), (3, 100e6), (2, math.inf))


class Fields(NamedTuple):
    """A template and its derivatives by rotation, on a fine grid of frequencies."""

    values: NDArray[np.float32]
    """(grid points, 8): real and imaginary parts of T, ∂T/∂ω_z, ∂T/∂ω_y, ∂T/∂ω_x."""
    grid: FineGrid
    """The frequencies."""


def template_fields(template: Array, finest: float) -> Fields:
    """Return a template's fields up to a frequency, in periods per voxel."""
    images = np.stack([template, *turning_rates(template)])
    times = next(
        times
        for times, room in _FINENESS
        if _field_bytes(template.shape, finest, times) <= room
    )
    z, y, x = (times * n for n in template.shape)
    grid = fine_grid((z, y, x), finest)
    images = images / roll_off(template.shape, grid.periods)
    spectra = transform(images, grid.axes())
    values = np.ascontiguousarray(np.moveaxis(spectra, 0, -1)).view(np.float32)
    return Fields(values.reshape(-1, 8), grid)


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
    matrix = gather_matrix(points, fields.grid)
    return np.asarray(matrix @ fields.values[:, : 2 * count]).view(np.complex64)


def _field_bytes(shape: tuple[int, ...], finest: float, times: int) -> float:
    return 32 * math.prod(2 * math.ceil(finest * times * n) + 3 for n in shape)


def turning_rates(template: Array) -> list[Array]:
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
