"""A template's Fourier transform between the frequencies of its box.

T(q) is evaluated on a fine grid and gathered from it, see `funpipe.space.spectra`.

With the template come its derivatives by small rotations: turned by the rotation
vector ω, t becomes t(x − ω × x), so that ∂t/∂ω_a = −(e_a × x)·∇t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space import spectra as between
from funpipe.space.geometry import offsets
from funpipe.space.spectra import FineGrid, fine_grid, quadrants, roll_off

__all__ = ["Fields", "filtered", "sample", "template_fields", "turning_rates"]

Array: TypeAlias = NDArray[Any]

# How much finer the grid is: as much as fits into a processor's cache, which is what
# the time hangs on, but within these bounds.
_COARSEST, _FINEST = 2.0, 8.0
_ROOM = 4e6  # bytes


class Fields(NamedTuple):
    """A template and its derivatives by rotation, on a fine grid of frequencies."""

    values: NDArray[np.float32]
    """(4 · grid points, 8): real and imaginary parts of T, ∂T/∂ω_z, ∂T/∂ω_y, ∂T/∂ω_x
    in all quadrants."""
    grid: FineGrid
    """The frequencies."""
    compiled: bool = False
    """Whether what is done with them is compiled by numba."""


def template_fields(
    template: Array, finest: float, *, compiled: bool = False
) -> Fields:
    """Return a template's fields up to a frequency, in periods per voxel."""
    images = np.stack([template, *turning_rates(template)])
    # Half of a cube of 2 · finest · times · n points a side, 32 bytes each.
    points = math.prod(2 * finest * n for n in template.shape) / 2
    times = (_ROOM / 32 / points) ** (1 / 3) if points else _FINEST
    times = min(max(times, _COARSEST), _FINEST)
    z, y, x = (round(times * n) for n in template.shape)
    grid = fine_grid((z, y, x), finest)
    images = images / roll_off(template.shape, grid.periods)
    values = np.empty((2, 2, *grid.shape, len(images)), np.complex64)
    for i, each in enumerate(quadrants(images, template.shape, grid.axes())):
        values[..., i] = each
    return Fields(values.reshape(-1, len(images)).view(np.float32), grid, compiled)


def filtered(fields: Fields, factor: Callable[[Array], Array]) -> Fields:
    """Return the fields of a template whose waves are multiplied by a factor.

    ``factor`` is a function of frequency vectors (3, ...) that depends on |k| alone, as
    it must for rotations to leave it alone.
    """
    axes = fields.grid.axes()
    k = np.stack(np.meshgrid(*axes, indexing="ij"))
    by = np.tile(factor(k).reshape(-1, 1).astype(np.float32), (4, 1))
    return fields._replace(values=fields.values * by)


def sample(points: Array, fields: Fields, count: int = 4) -> NDArray[np.complex64]:
    """Return the first ``count`` fields at frequencies.

    Parameters
    ----------
    points : (..., 3) array
        N frequencies in periods per voxel, z, y, x.
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
    values, grid, compiled = fields
    return between.sample(points, values, grid, count=count, compiled=compiled)


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
