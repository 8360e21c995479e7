"""How many picks of a score are there by chance: what a null search tells.

Templates of the same power, mask and rotations, but random phases, are searched for in
the same tomogram. Of white noise a pose scores above s with a probability that goes
nearly as (1 − s²)^β, β half of the numbers that a crop has; so the null's peaks above
the lowest that are taken are as many as

    n₀(s) = n ((1 − s²) / (1 − s₀²))^β,     1 / β = mean of ln (1 − s₀²) / (1 − s²),

the likeliest β, also beyond the highest of them. Of n(s) picks that score s or more the
part n₀(s) / n(s) is expected to be false (Y. Benjamini and Y. Hochberg, Journal of the
Royal Statistical Society B 57, 289, 1995).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.bank import masked
from funpipe.jobs.preparing import Prepared

__all__ = ["Null", "false_share", "null_of", "with_random_phases"]

Array: TypeAlias = NDArray[Any]

_TAIL = 300  # of the null's highest peaks, which say how it falls off


class Null(NamedTuple):
    """How many peaks there are by chance, by their score."""

    scores: NDArray[np.float64]
    """Of the null's peaks, the highest first."""
    many: float
    """n, those at ``least`` or above that the tail is made of."""
    least: float
    """s₀."""
    beta: float

    def above(self, scores: Array) -> NDArray[np.float64]:
        """Return how many are expected at some scores or above.

        They are counted where there are many, and the tail's where there are few.
        """
        s = np.clip(np.asarray(scores, float), 0, 1 - 1e-9)
        fall = (np.log1p(-np.square(s)) - np.log1p(-(self.least**2))) * self.beta
        counted = np.searchsorted(-self.scores, -s, side="right")
        return np.where(s >= self.least, self.many * np.exp(fall), counted)


def null_of(scores: Array, least: float, numbers: float) -> Null:
    """Return the null of its peaks' scores, all that are ``least`` or more.

    ``numbers`` are those of a crop, from which β is taken where there are no peaks.

    Examples
    --------
    >>> null = null_of(np.sqrt(np.linspace(0.04, 0.1, 500)), 0.2, 250)
    >>> null.above([0.2, 0.3, 0.5]).round(2)
    array([500. ,  84.8,   0. ])
    """
    found = -np.sort(-np.asarray(scores, float))
    if len(found) < 2:
        return Null(found, float(max(1, len(found))), least, numbers / 2)
    start = found[_TAIL - 1] if len(found) > _TAIL else least
    tail = found[found >= start]
    fallen = np.log1p(-(start**2)) - np.log1p(-np.square(tail))
    beta = 1 / max(float(fallen.mean()), 1e-9)
    return Null(found, float(len(tail)), float(start), beta)


def false_share(scores: Array, null: Null) -> NDArray[np.float64]:
    """Return which part of the picks down to each, the best first, are false.

    Parameters
    ----------
    scores : (n,) array
        In falling order.
    null : Null
        Of the same tomograms.
    """
    share = null.above(scores) / np.arange(1, len(scores) + 1)
    # A longer list that has fewer false ones may be cut later.
    return np.minimum(np.minimum.accumulate(share[::-1])[::-1], 1.0)


def with_random_phases(prepared: Prepared, seed: int) -> NDArray[np.float32]:
    """Return templates as masked templates, with their power and random phases.

    Parameters
    ----------
    prepared : Prepared
        (m, z, y, x), see `funpipe.prepare`.
    seed : int
        Of the phases.
    """
    random = np.random.default_rng(seed)
    found = []
    for template, mask in zip(*prepared, strict=True):
        F = scipy.fft.rfftn(masked(template, mask).astype(np.float64))
        phases = scipy.fft.rfftn(random.standard_normal(template.shape))
        phases /= np.maximum(np.abs(phases), 1e-30)
        other = scipy.fft.irfftn(np.abs(F) * phases, s=template.shape)
        found.append(masked(other.astype(np.float32), mask))
    return np.stack(found)
