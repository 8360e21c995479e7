"""How far two maps agree at each place: local correlations, band by band."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.arguments import Image
from funpipe.space.fourier import fourier_vectors
from funpipe.space.shells import transform

__all__ = ["local_frequencies"]

_WIDTH = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian at half its height, in σ


def local_frequencies(
    a: Image, b: Image, width: float, threshold: float
) -> NDArray[np.float32]:
    """Return up to which frequency two maps agree around each voxel.

    The maps are divided into bands, 1 / width apart and overlapping, cos² in the
    frequency, so that they add up to 1. In each band i the local correlation is

        G∗(a_i b_i) / √(G∗a_i² · G∗b_i²)

    with G∗ the convolution with a Gaussian of that width at half its height.

    Parameters
    ----------
    a, b : (z, y, x) arrays of one shape
        The maps.
    width : float
        Of the window, in voxels.
    threshold : float
        Where the correlation first falls below it.

    Returns
    -------
    (z, y, x) array
        In 1/voxel, linearly interpolated between bands; of the first band, 1 / width,
        where that is below the threshold, and of the last one, at Nyquist's frequency
        or just below, where none is.
    """
    count = max(1, math.floor(width / 2 + 1e-9))
    length = np.sqrt((fourier_vectors(a.shape, 1.0) ** 2).sum(axis=0)) * width
    F, G = transform(a), transform(b)
    last = np.ones(a.shape)
    found = np.zeros(a.shape)
    going = np.ones(a.shape, bool)
    for band in range(1, count + 1):
        here = _local(F, G, a.shape, length - band, width)
        fallen = going & (here < threshold)
        if band == 1:
            found[fallen] = band
        else:
            before, after = last[fallen], here[fallen]
            part = (before - threshold) / np.maximum(before - after, 1e-12)
            found[fallen] = band - 1 + np.clip(part, 0, 1)
        going &= ~fallen
        last = here
        if not going.any():
            break
    found[going] = count
    return (found / width).astype(np.float32)


def _local(
    F: NDArray[np.complex128],
    G: NDArray[np.complex128],
    shape: tuple[int, ...],
    away: NDArray[np.float64],
    width: float,
) -> NDArray[np.float64]:
    """Return the local correlation of a band, from how far waves are from its middle.

    0 where a map has nothing in it.
    """
    band = np.where(abs(away) < 1, np.cos(np.pi / 2 * away) ** 2, 0)
    one, other = (scipy.fft.irfftn(band * each, s=shape) for each in (F, G))
    cross, power, also = (
        scipy.ndimage.gaussian_filter(each, width / _WIDTH, mode="constant")
        for each in (one * other, one**2, other**2)
    )
    both = np.sqrt(power) * np.sqrt(also)
    faint = 1e-12 * np.abs(both).max()
    return np.divide(cross, both, out=np.zeros(shape), where=both > faint)
