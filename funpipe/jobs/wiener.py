"""Maps as far as their halves support them.

With the Fourier shell correlation C of two halves, which is SNR / (1 + SNR) of one of
them, Wiener's filter of a half is C itself (P. B. Rosenthal, R. Henderson, J. Mol.
Biol. 333, 721, 2003), and of the mean of both 2 C / (1 + C). What is finer than the
halves agree on has the weight 0.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import Image
from funpipe.jobs.correlating import FSC
from funpipe.space.fourier import filter_image
from funpipe.space.shells import fisher_band, resolution_at

__all__ = ["half_weighted", "mean_weighted", "supported"]

THRESHOLD = 0.143
_CHANCE = 0.01  # how often noise alone goes beyond, in a shell


def supported(curve: FSC) -> float:
    """Return down to what period two halves agree, nm; infinity where they do not.

    Where their correlation first falls below 0.143, or below what noise alone exceeds
    once in a hundred times in a shell of so few waves.

    Examples
    --------
    >>> from funpipe import fsc
    >>> noise = np.random.default_rng(0).normal(size=(2, 16, 16, 16))
    >>> supported(fsc(noise[0], noise[1], scale=0.5))
    inf
    """
    return resolution_at(curve.frequency, curve.corrected / _least(curve), 1.0)


def _least(curve: FSC) -> NDArray[np.float64]:
    """Return which correlation a shell has to have, to be believed."""
    nothing = np.zeros_like(curve.waves)
    return np.maximum(THRESHOLD, fisher_band(nothing, curve.waves, 1 - 2 * _CHANCE)[1])


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
    below = np.flatnonzero(curve.corrected < _least(curve))
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
