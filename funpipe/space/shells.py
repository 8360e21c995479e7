"""Shells of Fourier space: how far two maps agree, frequency by frequency."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.wording import fail
from funpipe.space.fourier import fourier_vectors

__all__ = ["fourier_shell_correlation", "resolution_at"]

Curve = NDArray[np.float64]


def fourier_shell_correlation(a: Any, b: Any, scale: float) -> tuple[Curve, Curve]:
    """Return how two maps correlate in each shell of Fourier space.

    With F and G their Fourier transforms, it is in each shell

        Re Σ F conj(G) / √(Σ |F|² · Σ |G|²)

    (G. Harauz and M. van Heel, Optik 73, 146, 1986). Where the maps are one signal
    and two independent noises, SNR / (1 + SNR) is expected, with SNR the ratio of
    the signal's power to that of one noise in the shell.

    Parameters
    ----------
    a, b : (z, y, x) arrays of one shape
        The maps.
    scale : float
        nm per voxel.

    Returns
    -------
    frequency : (m,) array
        Middles of the shells in 1/nm, one period per longest side of the box apart,
        from that on to Nyquist's frequency.
    fsc : (m,) array
        The correlations, −1 to 1; 0 where a map has nothing in a shell.

    Raises
    ------
    TypeError, ValueError
        If they are not two 3-D arrays of finite numbers and one shape, of 2 voxels
        or more along the longest side.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(2, 16, 16, 16))
    >>> frequency, fsc = fourier_shell_correlation(noise[0], noise.sum(0), 0.5)
    >>> frequency[[0, -1]], np.round(fsc.mean(), 1)
    (array([0.125, 1.   ]), np.float64(0.7))
    """
    first, second = check.image("a", a), check.image("b", b)
    scale = check.positive("scale", scale)
    if first.shape != second.shape:
        raise ValueError(
            f"b must have the shape of a, {first.shape}, not {second.shape}"
        )
    longest = max(first.shape)
    if longest < 2:
        fail("a", "2 voxels or more along its longest side", first)
    length = np.sqrt((fourier_vectors(first.shape, 1 / longest) ** 2).sum(axis=0))
    shell = np.ceil(length - 0.5 - 1e-9).astype(int)  # the nearest, the lower of two
    F, G = (scipy.fft.rfftn(each.astype(np.float64)) for each in (first, second))
    # rfftn leaves out one of each mirrored pair, save in its first and last planes.
    pairs = np.full(F.shape, 2.0)
    pairs[..., [0, -1] if first.shape[2] % 2 == 0 else [0]] = 1
    products = ((F * G.conj()).real, abs(F) ** 2, abs(G) ** 2)
    cross, power, other = (
        np.bincount(shell.ravel(), (pairs * each).ravel())[1 : longest // 2 + 1]
        for each in products
    )
    both = np.sqrt(power) * np.sqrt(other)
    fsc = np.divide(cross, both, out=np.zeros_like(cross), where=both > 0)
    return np.arange(1, len(fsc) + 1) / (longest * scale), np.clip(fsc, -1, 1)


def resolution_at(frequency: Any, fsc: Any, threshold: float = 0.143) -> float:
    """Return the period at which a curve of shells first falls below a threshold.

    Parameters
    ----------
    frequency, fsc : (m,) arrays
        See `fourier_shell_correlation`.
    threshold : float
        By custom 0.143 between two halves of the particles, 0.5 between a map of
        all of them and the truth (P. B. Rosenthal and R. Henderson, J. Mol. Biol.
        333, 721, 2003).

    Returns
    -------
    float
        In nm, linearly interpolated in the frequency; infinity where the first shell
        is below the threshold, the last shell's period where none is.

    Examples
    --------
    >>> resolution_at([0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.1, 0.2], threshold=0.5)
    4.0
    """
    frequencies, correlations = np.asarray(frequency), np.asarray(fsc)
    below = np.flatnonzero(correlations < threshold)
    if len(below) == 0:
        return float(1 / frequencies[-1])
    if below[0] == 0:
        return math.inf
    around = [below[0], below[0] - 1]  # numpy.interp wants rising values
    where = np.interp(threshold, correlations[around], frequencies[around])
    return float(1 / where)
