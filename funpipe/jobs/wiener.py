"""Maps as far as their halves support them.

With the Fourier shell correlation C of two halves, which is SNR / (1 + SNR) of one of
them, Wiener's filter of a half is C itself (P. B. Rosenthal, R. Henderson, J. Mol.
Biol. 333, 721, 2003), and of the mean of both 2 C / (1 + C).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import Image
from funpipe.jobs.correlating import FSC
from funpipe.space.fourier import filter_image

__all__ = ["THRESHOLD", "half_weighted", "mean_weighted"]

THRESHOLD = 0.143
"""Of C: what is finer than the first shell below is not used."""


def half_weighted(image: Image, scale: float, *, curve: FSC) -> Image:
    """Return the map of one half, weighted by C."""
    return _weighted(image, scale, curve, np.clip(curve.corrected, 0, 1))


def mean_weighted(image: Image, scale: float, *, curve: FSC) -> Image:
    """Return the mean of both halves' maps, weighted by 2 C / (1 + C)."""
    C = np.clip(curve.corrected, 0, 1)
    return _weighted(image, scale, curve, 2 * C / (1 + C))


def _weighted(
    image: Image, scale: float, curve: FSC, weights: NDArray[np.float64]
) -> Image:
    below = np.flatnonzero(curve.corrected < THRESHOLD)
    if below.size:
        weights[below[0] :] = 0
    return filter_image(
        image, scale, partial(_between, known=curve.frequency, values=weights)
    )


def _between(
    frequency: NDArray[np.float64],
    known: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    return np.asarray(np.interp(frequency, known, values))
