"""The images that a tilt series takes of a density."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.wording import fail
from funpipe.space.tilts import AXES
from funpipe.space.transfer import TiltSeries

__all__ = ["projections"]

Array: TypeAlias = NDArray[Any]


def projections(density: Any, series: TiltSeries, scale: float) -> NDArray[np.float32]:
    """Return the images that a tilt series takes of a density.

    Parameters
    ----------
    density : (z, y, x) array at this scale, or provider
        Outside its box is nothing.
    series : TiltSeries
        Of `tilt_series`. With its dose and contrast transfer, the latter with its sign
        and the defocus of the centre, as the microscope has it: phases that were
        flipped, and transfer that was corrected, were so afterwards.
    scale : float
        nm per voxel, and per pixel.

    Returns
    -------
    (tilts, y, x) array of float32
        The density's sums along the beam, in its units times nm, in the order of the
        series' angles. The axis across the tilt axis, x for "y", is turned with the
        stage: at a tilt of α pixel u nm from the middle sums up what lies at
        x cos α + z sin α = u.

    Raises
    ------
    TypeError, ValueError
        If the density is no 3-D array of finite numbers, or the series is none.

    Notes
    -----
    By the central-slice theorem an image's waves are those of the density in the plane
    across the beam. They are summed up voxel by voxel, without interpolation: for a
    density without waves above Nyquist's frequency the images are exact to single
    precision. Along the tilt axis opposite edges see each other through contrast
    transfer.

    Examples
    --------
    >>> import funpipe as fp
    >>> ball = fp.from_gaussian((12.0, 12.0, 12.0), 1.2)
    >>> images = projections(ball, fp.tilt_series([-60, 0, 60]), 1.0)
    >>> images.shape
    (3, 12, 12)
    >>> np.abs(images[1] - images[0]).max() < 1e-3  # it is alike from all sides
    np.True_
    """
    if not isinstance(series, TiltSeries):
        fail("series", "tilt_series(...)", series)
    scale = check.positive("scale", scale)
    image = check.image("density", density(scale) if callable(density) else density)
    if series.axis == "x":
        image = np.ascontiguousarray(image.swapaxes(1, 2))
    images = np.stack(
        [
            _projection(image, _one_tilt(series, i), scale)
            for i in range(len(series.angles))
        ]
    )
    return images.swapaxes(1, 2) if series.axis == "x" else images


def _one_tilt(series: TiltSeries, i: int) -> TiltSeries:
    """Return tilt i of a series as the microscope took it."""
    return replace(
        series,
        angles=series.angles[i : i + 1],
        dose=series.dose and series.dose[i : i + 1],
        defocus=series.defocus and series.defocus[i : i + 1],
        astigmatism=series.astigmatism and series.astigmatism[i : i + 1],
        phase_flipped=False,
        corrected=False,
    )


def _projection(image: Array, tilt: TiltSeries, scale: float) -> NDArray[np.float32]:
    """Return a density's projection at a series' one tilt, its axis along y."""
    nz, ny, nx = image.shape
    angle = math.radians(tilt.angles[0])
    sine, cosine = math.sin(angle), math.cos(angle)
    width = nx + 2 * math.ceil((nz + nx) / 2)  # what is outside falls in the margin
    around = (width - nx) // 2
    k = np.fft.rfftfreq(width)
    z, x = np.arange(nz) - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2
    first = x[0] - around
    across = np.exp(-2j * np.pi * np.outer(x * cosine - first, k))
    along = np.exp(-2j * np.pi * np.outer(z * sine, k))
    lines = np.zeros((ny, len(k)), complex)
    for section, phases in zip(image, along, strict=True):
        lines += (section @ across) * phases
    if width % 2 == 0:
        lines[:, -1] = 0  # Nyquist's wave has no phase
    waves = scipy.fft.fft(lines, axis=0) * _left(tilt, ny, k, scale)
    found = scipy.fft.irfft2(waves, s=(ny, width))[:, around : around + nx]
    return (scale * found).astype(np.float32)


def _left(tilt: TiltSeries, ny: int, k: Array, scale: float) -> NDArray[np.float64]:
    """Return what a tilt leaves of the waves in its plane, (y, across)."""
    angle = math.radians(tilt.angles[0])
    up, across = np.meshgrid(np.fft.fftfreq(ny), k, indexing="ij")
    vectors = np.empty((3, 1, *up.shape))
    vectors[0] = across * math.sin(angle)
    vectors[AXES[tilt.axis]] = across * math.cos(angle)
    vectors[3 - AXES[tilt.axis]] = up
    return tilt.at(np.zeros((1, 3))).amplitudes(vectors / scale)[0]
